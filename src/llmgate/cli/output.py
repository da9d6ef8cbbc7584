"""What commands print: tables for people, JSON for programs, from the same rows.

A row maps stable names to values. In JSON it stands as it is, with times in RFC 3339; in a table names
are the headings, times are UTC, numbers stand to the right, and "-" stands for nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

import click
import msgspec

Row = Mapping[str, object]

MAX_CELL = 60
"""Characters of a cell: a model's name, say, is what a client sent."""


def show(rows: Sequence[Row], *, as_json: bool, empty: str, columns: Sequence[str] = ()) -> None:
    """Print `rows`, or the sentence `empty` where a person would see an empty table.

    `columns` are those of the table; without them, all.
    """
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo(empty)
    else:
        for line in _table(rows, columns or list(rows[0])):
            click.echo(line)


def show_one(row: Row, *, as_json: bool) -> None:
    """Print one thing: a line for each of its values."""
    if as_json:
        print_json(row)
        return
    headings = [_heading(name) for name in row]
    width = max(map(len, headings))
    for heading, value in zip(headings, row.values(), strict=True):
        click.echo(f"{heading:{width}}  {_cell(value)}")


def say(sentence: str, row: Row, *, as_json: bool) -> None:
    """Print what was done: a sentence, or what it was done to."""
    if as_json:
        print_json(row)
    else:
        click.echo(sentence)


def print_json(value: object) -> None:
    """Print `value` as JSON, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2))


LAST_TIME = 253_402_300_799
"""9999-12-31T23:59:59Z: Python has no later time."""


def time_of(seconds: float | None) -> dt.datetime | None:
    """Seconds since the epoch as a time, rounded to the second."""
    return None if seconds is None else dt.datetime.fromtimestamp(min(round(seconds), LAST_TIME), dt.UTC)


def _table(rows: Sequence[Row], columns: Sequence[str]) -> Iterator[str]:
    lines = [[_heading(name) for name in columns]]
    lines += [[_cell(row[name]) for name in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    right = [all(_is_number(row[name]) for row in rows) for name in columns]
    for line in lines:
        cells = zip(line, widths, right, strict=True)
        yield "  ".join(
            f"{cell:{'>' if to_right else '<'}{width}}" for cell, width, to_right in cells
        ).rstrip()


def _heading(name: str) -> str:
    return name.removesuffix("_at").replace("_", " ")


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: object) -> str:
    match value:
        case None | "" | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6f}".rstrip("0").rstrip(".")
        case dt.datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case list():
            return ", ".join(map(str, value))
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "\N{HORIZONTAL ELLIPSIS}"
