"""Reading the ledger: totals, groups and single records, filtered; all that has ended in this process is in them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from ..store.schema import usage
from .model import UsageRecord
from .statements import RECORD_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..store import Store

Group = Literal[
    "user_id",
    "key_id",
    "organization_id",
    "end_user",
    "upstream",
    "model",
    "asked_model",
    "route",
    "endpoint",
    "certainty",
    "day",
]
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records: all that match every field that is given. `since` is inclusive, `until` is not.

    Records are found by user or by time; all else is looked for among those.
    """

    user_id: int | None = None
    key_id: int | None = None
    organization_id: int | None = None
    surface: str | None = None
    route: str | None = None
    upstream: str | None = None
    model: str | None = None
    asked_model: str | None = None
    end_user: str | None = None
    outcome: str | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over records. `cost` is in millionths of the currency unit; `engine_seconds` of those that have some."""

    requests: int
    input_tokens: int
    output_tokens: int
    cost: int
    engine_seconds: float = 0.0

    @classmethod
    def of(cls, row: Sequence[Any]) -> Totals:
        """Of a row of `_SUMS`."""
        requests, input_tokens, output_tokens, cost, seconds = row
        return cls(int(requests), int(input_tokens), int(output_tokens), int(cost), float(seconds))

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


class Reports:
    """The usage records in `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def totals(self, which: Filter) -> Totals:
        """The sum over all records that match."""
        await self._store.flush()
        async with self._store.connect() as db:
            row = (await db.execute(sa.select(*_SUMS).where(*_where(which)))).one()
        return Totals.of(row)

    async def repeated_tokens(self, which: Filter) -> int:
        """Tokens of prompts, once for every further answer that was asked for of them (`n` > 1)."""
        again = sa.func.sum(usage.c.input_tokens * (usage.c.choices - 1))
        await self._store.flush()
        async with self._store.connect() as db:
            return int(await db.scalar(sa.select(again).where(usage.c.choices > 1, *_where(which))) or 0)

    async def grouped(self, by: Group, which: Filter, *, limit: int = 1000) -> list[tuple[Any, Totals]]:
        """The sums for each value of `by`, most tokens first; for days, the latest first.

        A day is the time (seconds since the epoch) of its midnight UTC.
        """
        column: sa.ColumnElement[Any] = (
            sa.cast(usage.c.at / DAY, sa.BigInteger) * DAY if by == "day" else usage.c[by]
        )
        order = column.desc() if by == "day" else sa.func.sum(_TOKENS).desc()
        query = sa.select(column, *_SUMS).where(*_where(which)).group_by(column).order_by(order).limit(limit)
        await self._store.flush()
        async with self._store.connect() as db:
            rows = (await db.execute(query)).all()
        return [(row[0], Totals.of(row[1:])) for row in rows]

    async def records(self, which: Filter, *, limit: int = 100) -> list[UsageRecord]:
        """The latest records that match, newest first."""
        query = (
            sa.select(*usage.c[RECORD_COLUMNS]).where(*_where(which)).order_by(usage.c.at.desc()).limit(limit)
        )
        await self._store.flush()
        async with self._store.connect() as db:
            return [UsageRecord(**row) for row in (await db.execute(query)).mappings()]


_TOKENS = usage.c.input_tokens + usage.c.output_tokens
_SUMS = (
    sa.func.count(),
    *(
        sa.func.coalesce(sa.func.sum(usage.c[name]), 0)
        for name in ("input_tokens", "output_tokens", "cost", "engine_seconds")
    ),
)


def _where(which: Filter) -> list[sa.ColumnElement[bool]]:
    wanted = asdict(which)
    since, until = wanted.pop("since"), wanted.pop("until")
    conditions = [usage.c[name] == value for name, value in wanted.items() if value is not None]
    if since is not None:
        conditions.append(usage.c.at >= since)
    if until is not None:
        conditions.append(usage.c.at < until)
    return conditions
