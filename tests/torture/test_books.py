"""The audit behind `make torture` finds what is wrong: books that were right, with one thing changed."""

from dataclasses import replace

import msgspec
import pytest
from torture.backend import Report
from torture.books import Evidence, Quota, audit
from torture.clients import End, Sighting

from llmgate.ledger import Unit, UsageRecord

RECORD = UsageRecord(
    request_id="r-1",
    at=1.0,
    user_id=1,
    key_id=1,
    organization_id=None,
    surface="",
    route="/v1",
    upstream="backend",
    model="m",
    endpoint="chat",
    input_tokens=3,
    output_tokens=4,
    cached_tokens=0,
    reasoning_tokens=0,
    cost=11,
    certainty="exact",
    outcome="finished",
    status=200,
    duration=0.1,
    first_byte=0.1,
)
SEEN = Sighting("t-1", "ann", End.FINISHED, "r-1", 200, tokens=4, body_size=40)
REPORTS = [
    Report("r-1", "t-1", 3, 2, final=False, sent=100),
    Report("r-1", "t-1", 3, 4, final=True, sent=200),
]


def quota(used: int = 7, limit: int = 8) -> Quota:
    return Quota("ann", Unit.TOKENS, limit, used, lambda record: record.user_id == 1)


RIGHT = Evidence([SEEN], REPORTS, [RECORD], [quota()], {"leases": 0})


def changed(**fields: object) -> list[UsageRecord]:
    return [msgspec.structs.replace(RECORD, **fields)]


def test_right_books_are_found_right() -> None:
    assert audit(RIGHT) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"records": []}, "not in the ledger"),
        ({"records": [RECORD, RECORD]}, "2 records"),
        ({"records": changed(output_tokens=5)}, "recorded (3, 5), reported (3, 4)"),
        ({"records": changed(outcome="lost", certainty="partial")}, "recorded as lost, partial"),
        ({"records": changed(cost=12)}, "costs 12"),
        ({"reports": REPORTS[:1]}, "no backend has finished it"),
        (
            {"reports": [*REPORTS, Report("r-2", "t-2", 3, 1, final=False)]},
            "request r-2 (t-2): reached a backend",
        ),
        ({"reports": [*REPORTS, Report("r-2", "t-1", 3, 1, final=False)]}, "sent on as ['r-1', 'r-2']"),
        ({"sightings": [replace(SEEN, tokens=3)]}, "read 3"),
        ({"sightings": [replace(SEEN, end=End.STUCK)]}, "stuck"),
        ({"sightings": [replace(SEEN, end=End.TURNED_DOWN, status=500)]}, "turned down with 500"),
        ({"sightings": [replace(SEEN, end=End.TURNED_DOWN, status=401)]}, "turned down with 401"),
        ({"sightings": [replace(SEEN, end=End.FALSE_END)]}, "without [DONE]"),
        ({"quotas": [quota(used=6)]}, "the records come to 7 tokens, 6 were charged"),
        ({"quotas": [quota(limit=6)]}, "7 of 6 tokens were spent"),
        ({"quotas": [quota(limit=9)]}, "2 tokens could not be spent in the end"),
        ({"leftovers": {"leases": 1}}, "left over after recovery: 1 leases"),
    ],
)
def test_a_difference_is_named(wrong: dict[str, object], said: str) -> None:
    assert said in "\n".join(audit(replace(RIGHT, **wrong)))


@pytest.mark.parametrize(
    ("outcome", "certainty", "taken", "made", "right"),
    [
        ("aborted", "partial", 3, 2, True),
        ("aborted", "partial", 3, 3, False),  # was never reported
        ("aborted", "partial", 3, 0, False),
        ("lost", "partial", 3, 2, True),
        ("lost", "estimated", 0, 0, True),
        ("lost", "exact", 3, 4, True),  # had ended, but for its record
        ("lost", "exact", 3, 2, False),
        ("aborted", "estimated", 10, 50, True),  # 40 bytes of body, 200 of answer
        ("aborted", "estimated", 11, 0, False),
        ("aborted", "estimated", 10, 51, False),
        ("failed", "exact", 0, 0, True),
        ("failed", "exact", 3, 0, False),
    ],
)
def test_an_unfinished_request_is_held_to_the_rule_for_its_end(
    outcome: str, certainty: str, taken: int, made: int, right: bool
) -> None:
    """Its client was cut off before it had got any token."""
    record = changed(
        outcome=outcome, certainty=certainty, input_tokens=taken, output_tokens=made, cost=taken + 2 * made
    )
    seen = replace(SEEN, end=End.CUT, tokens=0)
    books = replace(RIGHT, records=record, sightings=[seen], quotas=[])
    assert (audit(books) == []) is right


def test_an_aborted_stream_is_charged_with_what_its_client_had_got_at_least() -> None:
    record = changed(outcome="aborted", certainty="partial", output_tokens=2, cost=7)
    books = replace(RIGHT, records=record, sightings=[replace(SEEN, end=End.LEFT, tokens=3)], quotas=[])
    assert "its client had got 3" in "\n".join(audit(books))


@pytest.mark.parametrize(("unseen", "right"), [(64, True), (63, False), (0, False)])
def test_a_plain_answer_that_is_left_is_charged_its_limit_at_most(unseen: int, right: bool) -> None:
    left = replace(SEEN, end=End.LEFT, tokens=0, unseen=unseen)
    guess = changed(output_tokens=64, outcome="aborted", certainty="estimated", cost=131)
    faults = audit(replace(RIGHT, sightings=[left], records=guess, quotas=[]))
    assert (faults == []) is right, faults


def test_a_guess_is_charged_in_full() -> None:
    """Text that has passed is not cut to what was held for it."""
    record = changed(outcome="aborted", certainty="estimated", input_tokens=10, output_tokens=50, cost=110)
    seen = replace(SEEN, end=End.LEFT, tokens=0)
    books = replace(RIGHT, records=record, sightings=[seen], quotas=[quota(used=60, limit=60)])
    assert audit(books) == []
    assert audit(replace(books, quotas=[quota(used=20, limit=20)])) != []


@pytest.mark.parametrize(
    ("fields", "used"),
    [
        ({}, 20),
        ({"outcome": "aborted", "certainty": "estimated", "input_tokens": 9, "output_tokens": 0}, 20),
        ({"outcome": "refused", "input_tokens": 0, "output_tokens": 0, "status": 402}, 0),
        (
            {"outcome": "lost", "certainty": "estimated", "input_tokens": 0, "output_tokens": 0, "status": 0},
            0,
        ),
    ],
)
def test_what_a_surface_sells_by_number_is_charged_by_number(fields: dict[str, object], used: int) -> None:
    """Twenty for each order that was answered or left, whatever the model made of it; nothing for others."""
    made = RECORD.input_tokens + 2 * RECORD.output_tokens
    cost = made if not fields else fields.get("input_tokens", 0)
    record = changed(booked=20, cost=cost, **fields)
    sightings = [replace(SEEN, end=End.FINISHED if not fields else End.CUT, tokens=4 if not fields else 0)]
    books = replace(RIGHT, records=record, sightings=sightings, quotas=[quota(used=used, limit=max(used, 1))])
    assert audit(books) == []
