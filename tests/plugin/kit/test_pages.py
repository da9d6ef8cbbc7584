"""Pages of lists, on both stores."""

import base64
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from stores import Clock, clock, migrated_file, migrated_postgres, sqlite_url, store, store_url

from llmgate.errors import BadRequest
from llmgate.plugin.api import NEVER_REUSED, id_column
from llmgate.plugin.kit.pages import page_after, page_of, total_header
from llmgate.plugin.kit.tables import required
from llmgate.store import Store

__all__ = ["clock", "migrated_file", "migrated_postgres", "sqlite_url", "store", "store_url"]

metadata = sa.MetaData()
logs = sa.Table("test_logs", metadata, id_column(), *required(at=sa.Double, what=sa.Text), **NEVER_REUSED)
ALL = sa.select(logs)


def number(row: sa.Row[tuple[int, float, str]]) -> int:
    return int(row.id)


async def add(store: Store, *times: float) -> None:
    async with store.begin() as db:
        await db.execute(logs.insert(), [{"at": at, "what": f"at {at}"} for at in times])


@pytest.fixture
async def filled(store: Store, clock: Clock) -> AsyncIterator[Store]:
    """Seven rows, of which some came at the same time."""
    async with store.begin() as db:
        await db.run_sync(metadata.create_all)
    await add(store, 1.5, 2.5, 2.5, 2.5, 3.5, 3.5, 4.5)
    yield store
    async with store.begin() as db:
        await db.run_sync(metadata.drop_all)


async def test_a_page_has_its_rows_and_says_how_many_there_are(filled: Store) -> None:
    """Behind those that are skipped; past the end there are none."""
    newest = ALL.order_by(logs.c.id.desc())
    page = await page_of(filled, newest, limit=3, skip=1, make=number)
    assert (page.items, page.total, page.count(3)) == ([6, 5, 4], 7, 3)
    assert (await page_of(filled, newest, limit=3, skip=6, make=number)).items == [1]
    beyond = await page_of(filled, newest, limit=3, skip=70, make=number)
    assert (beyond.items, beyond.total) == ([], 7)


async def test_a_page_of_a_part_counts_that_part(filled: Store) -> None:
    """Whatever the query has for conditions."""
    page = await page_of(filled, ALL.where(logs.c.at > 3).order_by(logs.c.id), limit=1, make=number)
    assert (page.items, page.total) == ([5], 3)
    nothing = await page_of(filled, ALL.where(logs.c.at > 9).order_by(logs.c.id), limit=1, make=number)
    assert (nothing.items, nothing.total, nothing.count(10)) == ([], 0, 0)


@pytest.mark.parametrize(
    ("newest_first", "order"), [(True, [7, 6, 5, 4, 3, 2, 1]), (False, [1, 2, 3, 4, 5, 6, 7])]
)
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
async def test_cursors_lead_through_all_of_a_list_once(
    filled: Store, limit: int, newest_first: bool, order: list[int]
) -> None:
    """Also where several rows have the same time, in either direction; the last page says that it is."""
    found: list[int] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = await page_after(
            filled,
            ALL,
            by=[logs.c.at, logs.c.id],
            limit=limit,
            cursor=cursor,
            newest_first=newest_first,
            make=number,
        )
        found, cursor, pages = found + page.items, page.cursor, pages + 1
    assert (found, pages) == (order, -(-7 // limit))


async def test_rows_that_come_meanwhile_move_nothing(filled: Store) -> None:
    """What was shown is not shown again, unlike by number."""
    by = [logs.c.at, logs.c.id]
    first = await page_after(filled, ALL, by=by, limit=3, make=number)
    await add(filled, 5.5)
    second = await page_after(filled, ALL, by=by, limit=3, cursor=first.cursor, make=number)
    assert (first.items, second.items) == ([7, 6, 5], [4, 3, 2])


async def test_a_list_may_be_ordered_by_text(filled: Store) -> None:
    """Cursors hold any text."""
    async with filled.begin() as db:
        await db.execute(logs.update().where(logs.c.id == 1).values(what="zz 'ü\N{ATOM SYMBOL}"))
    first = await page_after(filled, ALL, by=[logs.c.what, logs.c.id], limit=1, make=number)
    assert first.items == [1]
    second = await page_after(
        filled, ALL, by=[logs.c.what, logs.c.id], limit=1, cursor=first.cursor, make=number
    )
    assert second.items == [7]


def written(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


FOREIGN = ("{}", "[1]", '["a",1]', "[1,1.5]", f"[1.5,{2**63}]", "[1.5,1,1]", "[[1],1]", "[1.5,true]")


@pytest.mark.parametrize("cursor", ["", "x", "\N{ATOM SYMBOL}", "AAAA", *map(written, FOREIGN)])
async def test_what_is_no_cursor_of_the_list_is_refused(filled: Store, cursor: str) -> None:
    """By its name, before the database sees it."""
    with pytest.raises(BadRequest, match="none of this list's") as refusal:
        await page_after(filled, ALL, by=[logs.c.at, logs.c.id], limit=1, cursor=cursor, make=number)
    assert refusal.value.param == "cursor"


async def test_no_cursor_holds_what_no_text_of_a_database_does(filled: Store) -> None:
    """PostgreSQL refuses a zero byte."""
    cursor = written('["a\\u0000",1]')
    with pytest.raises(BadRequest):
        await page_after(filled, ALL, by=[logs.c.what, logs.c.id], limit=1, cursor=cursor, make=number)


def test_a_list_may_say_its_length_in_a_header() -> None:
    """As many guides do."""
    assert total_header(7) == (b"x-total-count", b"7")
