"""The ledger's hot write path on PostgreSQL: one connection, one transaction per group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import asyncpg
from msgspec.structs import astuple

from ..store import db_errors
from ..store.engine import place
from ..store.schema import usage
from .model import Entry
from .statements import RECORD_COLUMNS, spent_by_lease

if TYPE_CHECKING:
    from sqlalchemy import URL

_CHARGES = "unnest($1::bigint[], $2::float8[], $3::text[], $4::bigint[]) AS spent (id, since, holder, amount)"
# Locked in one order by everybody, so that no two writers wait for each other.
_LOCK_QUOTAS = "SELECT id FROM quotas WHERE id = ANY ($1::bigint[]) ORDER BY id FOR UPDATE"
# A window that is over, and was followed by another, needs no charges any more.
_CHARGE_QUOTAS = f"""
UPDATE quotas SET used = used + total FROM (
    SELECT open.id AS quota, sum(amount)::bigint AS total
    FROM {_CHARGES} JOIN quotas AS open ON open.id = spent.id AND window_start <= since GROUP BY open.id
) AS sums WHERE id = quota
"""  # noqa: S608
_CHARGE_LEASES = f"""
UPDATE leases SET spent = leases.spent + amount FROM {_CHARGES}
WHERE quota_id = id AND worker_id = holder AND window_start = since
"""  # noqa: S608
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
        self._insert = _insert()

    async def commit(self, entries: Sequence[Entry]) -> None:
        """See `Committer`."""
        try:
            connection = self._connection or await self._connect()
            if any(entry.charges for entry in entries):
                async with connection.transaction():
                    await self._charge(connection, _once(entries, await self._record(connection, entries)))
            else:
                await self._record(connection, entries)
        except BaseException as error:
            self._disconnect()
            if not isinstance(error, Exception) or isinstance(error, _FAULTS_OF_ENTRIES):
                raise
            # Whatever else the driver stumbles over when it loses its connection: the entries are good.
            raise db_errors.fault(error, self._place) from error

    async def aclose(self) -> None:
        """Close the connection."""
        self._disconnect()

    async def _record(self, connection: Any, entries: Sequence[Entry]) -> set[str]:
        """Write the records, in a transaction of their own where none is open; those with these ids are new."""
        columns = zip(*[astuple(entry.record) for entry in entries], strict=True)
        return {row[0] for row in await connection.fetch(self._insert, *map(list, columns))}

    async def _charge(self, connection: Any, entries: Sequence[Entry]) -> None:
        if charges := spent_by_lease(entries):
            quotas, windows, holders, amounts = map(list, zip(*charges, strict=True))
            await connection.execute(_LOCK_QUOTAS, quotas)
            await connection.execute(_CHARGE_QUOTAS, quotas, windows, holders, amounts)
            await connection.execute(_CHARGE_LEASES, quotas, windows, holders, amounts)

    async def _connect(self) -> Any:
        self._connection = await asyncpg.connect(
            **self._options, timeout=self._timeout, command_timeout=self._timeout
        )
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _insert() -> str:
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - for the names of the types alone

    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    types = [usage.c[name].type.compile(dialect) for name in RECORD_COLUMNS]
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, 1))
    columns = ", ".join(f'"{name}"' for name in RECORD_COLUMNS)
    return (
        f"INSERT INTO usage ({columns}) SELECT * FROM unnest({arrays}) "  # noqa: S608
        "ON CONFLICT (request_id) DO NOTHING RETURNING request_id"
    )


def _once(entries: Iterable[Entry], inserted: set[str]) -> list[Entry]:
    """The entries that were inserted: of two with the same id in one group, the first."""
    first = []
    for entry in entries:
        if entry.record.request_id in inserted:
            inserted.discard(entry.record.request_id)
            first.append(entry)
    return first
