"""Pages of lists: some rows of a query at a time, by how many come before them, or by a cursor.

    class Which(Struct, frozen=True):
        skip: Skip = 0
        limit: Limit = 100

    page = await page_of(store, sa.select(logs).order_by(logs.c.id.desc()), limit=limit, skip=skip, make=shown)
    Reply(page.items, 200, [total_header(page.total)])

    page = await page_after(store, sa.select(logs), by=[logs.c.id], limit=limit, cursor=call.query.after, make=shown)
    Listed(page.items, next=page.cursor)

Numbers are what many guides have; rows that come or go meanwhile move the others. A cursor says behind which row to
go on: it misses none and shows none twice, and the hundredth page costs no more than the first.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import msgspec
import sqlalchemy as sa
from msgspec import Meta

from ..api import BadRequest
from .formats import MAX_SAFE_INTEGER

if TYPE_CHECKING:
    from ..api import Header, Store

ItemT = TypeVar("ItemT")

MAX_LIMIT = 1000
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
"""How many rows a page has at the most."""
Skip = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]
"""How many rows come before a page."""
Cursor = Annotated[str, Meta(max_length=512)]
"""What the page before has said."""

Value = str | int | float
"""What a list may be ordered by."""


@dataclass(frozen=True, slots=True)
class Page(Generic[ItemT]):
    """Some of a list, which has `total` rows."""

    items: list[ItemT]
    total: int

    def count(self, limit: int) -> int:
        """How many pages of `limit` rows there are."""
        return -(-self.total // limit)


@dataclass(frozen=True, slots=True)
class PageAfter(Generic[ItemT]):
    """Some of a list, and by which cursor it goes on; None: this is its end."""

    items: list[ItemT]
    cursor: str | None


async def page_of(
    store: Store,
    query: sa.Select[Any],
    *,
    limit: int,
    skip: int = 0,
    make: Callable[[sa.Row[Any]], ItemT],
) -> Page[ItemT]:
    """The rows of `query`, which is in some order, behind the first `skip`, made into items; and how many there are.

    Raises `StoreError`.
    """
    all_rows = sa.select(sa.func.count()).select_from(query.order_by(None).subquery())
    async with store.connect() as db:
        rows = (await db.execute(query.offset(skip).limit(limit))).all()
        total = await db.scalar(all_rows)
    return Page([make(row) for row in rows], int(total or 0))


async def page_after(
    store: Store,
    query: sa.Select[Any],
    *,
    by: Sequence[sa.Column[Any]],
    limit: int,
    cursor: str | None = None,
    newest_first: bool = True,
    make: Callable[[sa.Row[Any]], ItemT],
) -> PageAfter[ItemT]:
    """The rows of `query` behind the one that `cursor` names, from the largest `by` down, or else up.

    `by` are columns of the query without nulls; no two rows have all of them alike. Raises `BadRequest` for a cursor
    that is none of this list's, and `StoreError`.
    """
    columns = sa.tuple_(*by)
    if cursor is not None:
        behind = sa.tuple_(*(sa.bindparam(None, value, each.type) for each, value in _read(cursor, by)))
        query = query.where(columns < behind if newest_first else columns > behind)
    ordered = query.order_by(*(each.desc() if newest_first else each.asc() for each in by))
    async with store.connect() as db:
        rows = (await db.execute(ordered.limit(limit + 1))).all()
    shown, more = rows[:limit], len(rows) > limit
    last = [shown[-1]._mapping[each] for each in by] if more else []
    return PageAfter([make(row) for row in shown], _written(last) if more else None)


def total_header(total: int) -> Header:
    """`X-Total-Count`, as lists without a body of their own tell how long they are."""
    return b"x-total-count", b"%d" % total


def _written(values: Sequence[Value]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


def _read(cursor: str, by: Sequence[sa.Column[Any]]) -> list[tuple[sa.Column[Any], Value]]:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        values = msgspec.json.decode(raw, type=list[Value])
        return [(each, _fit(each, value)) for each, value in zip(by, values, strict=True)]
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise BadRequest(
            "The cursor is none of this list's: leave it out to begin.", param="cursor"
        ) from error


def _fit(column: sa.Column[Any], value: Value) -> Value:
    """`value` if the column may have it. Raises ValueError."""
    kind = column.type.python_type
    number = isinstance(value, int) and abs(value) < 2**63
    text = isinstance(value, str) and "\0" not in value  # PostgreSQL has no such text
    if (kind is str and text) or (kind is int and number):
        return value
    if kind is float and not isinstance(value, str):
        return float(value)
    raise ValueError("of another type")
