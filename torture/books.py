"""The audit: what clients saw, what backends reported and what the ledger says must be one story.

The rules are those of docs/guide/exactness.md. Nothing here asks the gate: it is arithmetic over three lists.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from llmgate.ledger import Outcome, Unit, UsageRecord
from llmgate.usage.model import Certainty

from .backend import Report
from .clients import End, Sighting

INPUT_PRICE, OUTPUT_PRICE = 1, 2
"""Millionths for each token, as gate.toml says."""
BYTES_PER_TOKEN = 4
"""What an estimate takes a token to be (docs/guide/accounting.md)."""
REFUSALS = frozenset({400, 402, 408, 429, 502, 503, 504})
"""What a client with a good key may be answered instead of 200, if it stops in the middle of its request too."""
SMALLEST: Mapping[Unit, int] = MappingProxyType(
    {Unit.TOKENS: 2, Unit.REQUESTS: 1, Unit.MONEY: INPUT_PRICE + OUTPUT_PRICE}
)
"""What the smallest request costs, one token each way: less than that cannot be spent."""


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota in the end: its limit, and what the store says was used of it. `draws`: whose records count."""

    name: str
    unit: Unit
    limit: int
    used: int
    draws: Callable[[UsageRecord], bool] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known when everything has ended. `leftovers` are things that should be gone, by name."""

    sightings: Sequence[Sighting]
    reports: Sequence[Report]
    records: Sequence[UsageRecord]
    quotas: Sequence[Quota]
    leftovers: Mapping[str, int]
    host_lost: bool = False
    """Whether a host was lost, and with it what was known of requests that had not ended."""


def audit(evidence: Evidence) -> list[str]:
    """Every difference, in a line that names the request or the account; none where the books are right."""
    return [
        *_twice(evidence),
        *_requests(evidence),
        *_records(evidence),
        *(line for quota in evidence.quotas for line in _quota(quota, evidence.records)),
        *(f"left over after recovery: {count} {name}" for name, count in evidence.leftovers.items() if count),
    ]


def spent(unit: Unit, record: UsageRecord) -> int:
    """What a record takes from a quota: failed requests are free, and so are lost ones without an answer."""
    if record.outcome in (Outcome.FAILED, Outcome.REFUSED):
        return 0
    if record.outcome == Outcome.LOST and record.status == 0:
        return 0
    match unit:
        case Unit.TOKENS:
            return record.input_tokens + record.output_tokens if record.booked is None else record.booked
        case Unit.MONEY:
            return INPUT_PRICE * record.input_tokens + OUTPUT_PRICE * record.output_tokens
        case Unit.REQUESTS:
            return 1


def _twice(evidence: Evidence) -> Iterator[str]:
    """No id has two records, and no request two ids."""
    for request_id, count in Counter(record.request_id for record in evidence.records).items():
        if count > 1:
            yield f"request {request_id}: {count} records"
    ids = defaultdict(set)
    for report in evidence.reports:
        ids[report.tag].add(report.id)
    for seen in evidence.sightings:
        if seen.id:
            ids[seen.tag].add(seen.id)
    yield from (
        f"client's request {tag}: sent on as {sorted(many)}" for tag, many in ids.items() if len(many) > 1
    )


def _requests(evidence: Evidence) -> Iterator[str]:
    """What clients saw, and what reached a backend, is in the ledger."""
    records = {record.request_id: record for record in evidence.records}
    reports = _by_id(evidence.reports)
    for seen in evidence.sightings:
        what = f"request {seen.id or '?'} ({seen.tag}, {seen.account}), {seen.end}"
        record = records.get(seen.id)
        if seen.end in (End.STUCK, End.FALSE_END):
            yield what
        elif seen.end is End.TURNED_DOWN and seen.status not in REFUSALS:
            yield f"{what} with {seen.status}"
        elif seen.end is End.FINISHED:
            yield from (f"{what}: {fault}" for fault in _finished(seen, record, reports.get(seen.id, ())))
        elif record is not None and record.outcome == Outcome.ABORTED and record.output_tokens < seen.tokens:
            yield f"{what}: {record.output_tokens} tokens recorded, its client had got {seen.tokens}"
    for request_id, known in reports.items():
        if request_id not in records and not evidence.host_lost:
            yield f"request {request_id} ({known[0].tag}): reached a backend and is not in the ledger"


def _finished(seen: Sighting, record: UsageRecord | None, reports: Sequence[Report]) -> Iterator[str]:
    final = next((report for report in reversed(reports) if report.final), None)
    if record is None:
        yield "not in the ledger"
    elif final is None:
        yield "no backend has finished it"
    elif record.outcome != Outcome.FINISHED or record.certainty != Certainty.EXACT:
        yield f"recorded as {record.outcome}, {record.certainty}"
    elif not _tokens(record) == (final.input, final.output) == (final.input, seen.tokens):
        yield f"recorded {_tokens(record)}, reported {(final.input, final.output)}, read {seen.tokens}"


def _records(evidence: Evidence) -> Iterator[str]:
    """Every record is what the rule for its outcome makes of what the backends have reported."""
    reports = _by_id(evidence.reports)
    by_id = {seen.id: seen for seen in evidence.sightings if seen.id}
    by_tag = {seen.tag: seen for seen in evidence.sightings}
    largest = max((seen.body_size for seen in by_tag.values()), default=0)
    for record in evidence.records:
        known = reports.get(record.request_id, [])
        seen = by_id.get(record.request_id) or (by_tag.get(known[0].tag) if known else None)
        if (fault := _fault(record, known, seen, largest)) is not None:
            yield (
                f"request {record.request_id}: {record.outcome}, {record.certainty}, {_tokens(record)} {fault}"
            )
        if record.cost != spent(Unit.MONEY, record) and record.outcome != Outcome.FAILED:
            yield f"request {record.request_id}: costs {record.cost} for {_tokens(record)}"


def _fault(record: UsageRecord, known: Sequence[Report], seen: Sighting | None, largest: int) -> str | None:
    if record.outcome in (Outcome.FAILED, Outcome.REFUSED):
        return None if _tokens(record) == (0, 0) else "for a failed request"
    reported = {(report.input, report.output) for report in known}
    finals = {(report.input, report.output) for report in known if report.final}
    match record.certainty:
        case Certainty.EXACT:
            return None if _tokens(record) in finals else f"while the whole was {finals or 'never reported'}"
        case Certainty.PARTIAL:
            return None if _tokens(record) in reported else f"was never reported, but {sorted(reported)}"
    if _tokens(record) == (0, 0) and record.outcome == Outcome.LOST:
        return None
    most = _estimate(largest if seen is None else seen.body_size)
    right = record.input_tokens <= most  # less where the backend's tokenizer was asked
    if record.booked is not None:  # the surface has written the prompt
        right = record.input_tokens <= record.booked
    sent = max((report.sent for report in known), default=0)
    made: float = _estimate(sent)
    if record.outcome == Outcome.ABORTED and seen is not None:
        made = max(made, seen.unseen)
    if right and record.output_tokens <= made:
        return None
    return f"for {seen} and at most {sent} bytes sent"


def _quota(quota: Quota, records: Iterable[UsageRecord]) -> Iterator[str]:
    mine = [record for record in records if quota.draws(record)]
    total = sum(spent(quota.unit, record) for record in mine)
    if quota.used != total:
        yield f"{quota.name}: the records come to {total} {quota.unit}, {quota.used} were charged"
    if quota.used > quota.limit:
        yield f"{quota.name}: {quota.used} of {quota.limit} {quota.unit} were spent"
    if quota.limit - quota.used >= SMALLEST[quota.unit]:
        yield f"{quota.name}: {quota.limit - quota.used} {quota.unit} could not be spent in the end"


def _tokens(record: UsageRecord) -> tuple[int, int]:
    return record.input_tokens, record.output_tokens


def _estimate(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)


def _by_id(reports: Iterable[Report]) -> dict[str, list[Report]]:
    found = defaultdict(list)
    for report in reports:
        found[report.id].append(report)
    return found
