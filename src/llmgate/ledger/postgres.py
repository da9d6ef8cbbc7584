"""The ledger's hot write path on PostgreSQL: one connection, one statement per group, which is its transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
from msgspec import to_builtins

from ..store import db_errors
from ..store.engine import place
from ..store.schema import usage
from .model import Entry
from .statements import RECORD_COLUMNS, spent_by_lease

if TYPE_CHECKING:
    from sqlalchemy import URL

_SPENT_TYPES = ("bigint", "float8", "text", "bigint")
_SPENT = """
WITH fresh AS ({insert}), spent AS (
    SELECT id, since, holder, amount FROM unnest({arrays}) AS spent (id, since, holder, amount)
), """
# Only what a new record takes is charged.
_SPENT_BY_NEW = """
WITH fresh AS ({insert} ON CONFLICT (request_id) DO NOTHING RETURNING request_id), spent AS (
    SELECT charge.id, since, holder, sum(amount)::bigint AS amount
    FROM unnest({arrays}) AS charge (request_id, id, since, holder, amount) JOIN fresh USING (request_id)
    GROUP BY charge.id, since, holder
), """
# Quotas are locked in one order by everybody, so that no two writers wait for each other, and a lease is only touched
# by who has locked its quota. What `locked` says of a row is the latest; an UPDATE finds the latest row, too. A window
# that is over, and was followed by another, needs no charges any more.
_CHARGED = """
locked AS (
    SELECT id, window_start FROM quotas WHERE id IN (SELECT id FROM spent) ORDER BY id FOR UPDATE
), charged AS (
    UPDATE quotas SET used = used + total FROM (
        SELECT locked.id AS quota, sum(amount)::bigint AS total
        FROM spent JOIN locked ON locked.id = spent.id AND window_start <= since GROUP BY locked.id
    ) AS sums WHERE quotas.id = quota
), leased AS (
    UPDATE leases SET spent = leases.spent + amount FROM spent JOIN locked ON locked.id = spent.id
    WHERE quota_id = spent.id AND worker_id = holder AND leases.window_start = since
)
SELECT
"""
_FAULTS_OF_ENTRIES = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


class PostgresCommitter:
    """Writes groups of entries over a connection of its own.

    `timeout` bounds, in seconds, how long it waits for a connection and for each statement. The connection
    is opened by the first group and again after every failure; as each request id is inserted only once, a
    transaction that was committed just before the connection broke is not written again.
    """

    def __init__(self, url: URL, *, timeout: float = 5.0) -> None:
        self._place = place(url)
        _, self._options = url.get_dialect()().create_connect_args(url)
        self._timeout = timeout
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._record, self._charged, self._charged_if_new = _statements()

    async def commit(self, entries: Sequence[Entry]) -> None:
        """See `Committer`."""
        records = _columns(to_builtins([entry.record for entry in entries]))
        spent = spent_by_lease(entries)
        statement, charges = (self._charged, _columns(spent)) if spent else (self._record, ())
        try:
            connection = self._connection or await self._connect()
            try:
                await connection.execute(statement, *records, *charges)
            except asyncpg.UniqueViolationError:  # rare enough to ask about each of them only now
                await connection.execute(
                    self._charged_if_new, *records, *_columns(_charges(entries), width=5)
                )
        except BaseException as error:
            self._disconnect()
            if not isinstance(error, Exception) or isinstance(error, _FAULTS_OF_ENTRIES):
                raise
            # Whatever else the driver stumbles over when it loses its connection: the entries are good.
            raise db_errors.fault(error, self._place) from error

    async def aclose(self) -> None:
        """Close the connection."""
        self._disconnect()

    async def _connect(self) -> Any:
        self._connection = await asyncpg.connect(
            **self._options, timeout=self._timeout, command_timeout=self._timeout
        )
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _statements() -> tuple[str, str, str]:
    """What writes records; records and what they have spent; and new ones alone, with their charges.

    Their columns are the parameters, as arrays.
    """
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - for the names of the types alone

    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    types = [usage.c[name].type.compile(dialect) for name in RECORD_COLUMNS]
    columns = ", ".join(f'"{name}"' for name in RECORD_COLUMNS)
    insert = f"INSERT INTO usage ({columns}) SELECT * FROM unnest({_arrays(types)})"  # noqa: S608
    spent = _SPENT.format(insert=insert, arrays=_arrays(_SPENT_TYPES, len(types)))
    by_new = _SPENT_BY_NEW.format(insert=insert, arrays=_arrays(("text", *_SPENT_TYPES), len(types)))
    return insert, spent + _CHARGED, by_new + _CHARGED


def _arrays(types: Iterable[str], before: int = 0) -> str:
    return ", ".join(f"${number}::text::{kind}[]" for number, kind in enumerate(types, before + 1))


_encode = msgspec.json.Encoder().encode


def _columns(rows: Sequence[Sequence[object]], width: int = 0) -> list[str]:
    """Each column as PostgreSQL writes an array: the driver takes 3 us to encode what is in one of its own.

    `width`: how many columns there are where there may be no rows.
    """
    return [_array(column) for column in zip(*rows, strict=True)] or ["{}"] * width


def _array(column: Sequence[object]) -> str:
    """JSON's words for numbers, plain text and null are those of arrays, too; but a backslash means another thing."""
    text = _encode(column)
    if b"\\" in text:
        return "{" + ",".join(map(_quoted, column)) + "}"
    return f"{{{text[1:-1].decode()}}}"


def _quoted(value: object) -> str:
    if value is None:
        return "NULL"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _charges(entries: Iterable[Entry]) -> list[tuple[object, ...]]:
    """Request id, quota, window, holder and amount of every charge; of two entries with one id the first counts."""
    first = {entry.record.request_id: entry for entry in reversed([*entries])}
    return [
        (request_id, charge.quota_id, charge.window_start, charge.holder, charge.amount)
        for request_id, entry in first.items()
        for charge in entry.charges
    ]
