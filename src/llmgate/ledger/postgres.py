"""The ledger's hot write path on PostgreSQL: one connection, one statement per group, which is its transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import asyncpg
from msgspec.structs import astuple

from ..store import db_errors
from ..store.engine import place
from ..store.schema import usage
from .model import Entry
from .statements import RECORD_COLUMNS

if TYPE_CHECKING:
    from sqlalchemy import URL

_CHARGE_TYPES = ("text", "bigint", "float8", "text", "bigint")
# Only what a new record takes is charged. Quotas are locked in one order by everybody, so that no two writers wait for
# each other, and a lease is only touched by who has locked its quota. What `locked` says of a row is the latest; an
# UPDATE finds the latest row, too. A window that is over, and was followed by another, needs no charges any more.
_CHARGES = """
spent AS (
    SELECT charge.id, since, holder, sum(amount)::bigint AS amount
    FROM unnest({arrays}) AS charge (request_id, id, since, holder, amount) JOIN fresh USING (request_id)
    GROUP BY charge.id, since, holder
), locked AS (
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
SELECT FROM fresh
"""
_FAULTS_OF_ENTRIES = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, OverflowError)


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
        self._record, self._charge = _statements()

    async def commit(self, entries: Sequence[Entry]) -> None:
        """See `Committer`."""
        try:
            connection = self._connection or await self._connect()
            records = _columns([astuple(entry.record) for entry in entries])
            if charges := _charges(entries):
                await connection.execute(self._charge, *records, *_columns(charges))
            else:
                await connection.execute(self._record, *records)
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


def _statements() -> tuple[str, str]:
    """What writes records, and what writes records and charges: their columns are the parameters, as arrays."""
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - for the names of the types alone

    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    types = [usage.c[name].type.compile(dialect) for name in RECORD_COLUMNS]
    columns = ", ".join(f'"{name}"' for name in RECORD_COLUMNS)
    insert = (
        f"INSERT INTO usage ({columns}) SELECT * FROM unnest({_arrays(types)}) "  # noqa: S608
        "ON CONFLICT (request_id) DO NOTHING"
    )
    charges = _CHARGES.format(arrays=_arrays(_CHARGE_TYPES, len(types)))
    return insert, f"WITH fresh AS ({insert} RETURNING request_id), {charges}"


def _arrays(types: Iterable[str], before: int = 0) -> str:
    return ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, before + 1))


def _columns(rows: Sequence[Sequence[object]]) -> Iterable[list[object]]:
    return map(list, zip(*rows, strict=True))


def _charges(entries: Iterable[Entry]) -> list[tuple[object, ...]]:
    """Request id, quota, window, holder and amount of every charge; of two entries with one id the first counts."""
    first = {entry.record.request_id: entry for entry in reversed([*entries])}
    return [
        (request_id, charge.quota_id, charge.window_start, charge.holder, charge.amount)
        for request_id, entry in first.items()
        for charge in entry.charges
    ]
