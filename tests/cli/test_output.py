import datetime as dt
import json

import pytest

from llmgate.cli.output import Row, show, show_one, time_of

ROWS: list[Row] = [
    {
        "id": 7,
        "name": "bob",
        "cost": 0.5,
        "roles": ["admin", "staff"],
        "active": True,
        "created_at": time_of(0),
    },
    {"id": 12, "name": None, "cost": 12.0, "roles": [], "active": False, "created_at": None},
]


def test_a_table_aligns_its_columns_with_numbers_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    """What is not there is a dash, times are UTC, no line ends in spaces."""
    show(ROWS, as_json=False, empty="none")
    assert capsys.readouterr().out.splitlines() == [
        "id  name  cost  roles         active  created",
        " 7  bob    0.5  admin, staff  yes     1970-01-01 00:00:00",
        "12  -       12  -             no      -",
    ]


def test_json_has_the_same_rows_with_all_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    """The columns of the table leave nothing out of the JSON."""
    show(ROWS, as_json=True, empty="none", columns=("id",))
    first, second = json.loads(capsys.readouterr().out)
    assert first["created_at"] == "1970-01-01T00:00:00Z" and first["roles"] == ["admin", "staff"]
    assert second == {"id": 12, "name": None, "cost": 12.0, "roles": [], "active": False, "created_at": None}


def test_an_empty_table_says_so_to_people_and_is_an_empty_list_for_programs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither has to guess whether something went wrong."""
    show([], as_json=False, empty="No users yet.")
    show([], as_json=True, empty="No users yet.")
    assert capsys.readouterr().out == "No users yet.\n[]\n"


def test_what_a_client_sent_cannot_steer_the_terminal_or_stretch_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A model's name is any text: control characters are replaced, and long ones cut."""
    show([{"model": "\x1b[2Jgone\n"}, {"model": "m" * 500}], as_json=False, empty="none")
    _, first, second = capsys.readouterr().out.splitlines()
    assert first == "\ufffd[2Jgone\ufffd"
    assert len(second) == 60 and second.endswith("m…")


def test_one_thing_stands_on_a_line_for_each_value(capsys: pytest.CaptureFixture[str]) -> None:
    """Names to the left, values in one column."""
    show_one({"id": 7, "last_used_at": None}, as_json=False)
    assert capsys.readouterr().out == "id         7\nlast used  -\n"


def test_times_are_utc_and_whole_seconds() -> None:
    """As RFC 3339 shows them without fractions."""
    assert time_of(1_800_000_000.4) == dt.datetime(2027, 1, 15, 8, 0, tzinfo=dt.UTC)
    assert time_of(None) is None
