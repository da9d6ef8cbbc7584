"""A log of what was asked of a surface, and of what its jobs did."""

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from stores import clock, migrated_file, migrated_postgres, sqlite_url, store, store_url

from llmgate.exchange import Exchange, Principal
from llmgate.plugin.kit.audit import AuditLog, audit_table, path_below
from llmgate.store import Store

__all__ = ["clock", "migrated_file", "migrated_postgres", "sqlite_url", "store", "store_url"]

TABLE = audit_table("test_audit", sa.MetaData())
ANN = Principal(7, "ann")


def scope(path: str, query: bytes = b"", **headers: str) -> dict[str, Any]:
    return {
        "type": "http", "method": "GET", "path": path, "query_string": query, "client": ("192.0.2.1", 1),
        "path_params": {"id": "5"}, "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }  # fmt: skip


@pytest.fixture
async def table(store: Store) -> sa.Table:
    async with store.begin() as db:
        await db.run_sync(TABLE.metadata.drop_all)
        await db.run_sync(TABLE.metadata.create_all)
    return TABLE


async def rows(store: Store) -> list[Any]:
    async with store.connect() as db:
        return list((await db.execute(sa.select(TABLE).order_by(TABLE.c.id))).mappings())


async def test_what_a_row_says(store: Store, table: sa.Table) -> None:
    """Who, what, from where, with which status; of a secret in the query, that there was one."""
    counted: list[tuple[str, str, int]] = []
    log = AuditLog(store, table, prefix="/api", counted=lambda *row: counted.append(row))
    asked = scope("/api/things/5/", b"token=secret&x=1", origin="https://a.example")
    await log.observe(asked, Exchange("1", 0.0, principal=ANN), 403)
    await log.note("purged", "things", 5, days=3)
    request, job = await rows(store)
    assert msgspec.json.decode(request["details"]) == {
        "path": "/things/5",
        "query_params": {"token": "***", "x": "1"},
        "status_code": 403,
    }
    names = (
        "user_id",
        "user_email",
        "resource_type",
        "resource_id",
        "action",
        "request_source",
        "ip_address",
    )
    assert [request[name] for name in names] == [
        *(7, "ann", "things", "5", "GET /things/5", "frontend", "192.0.2.1")
    ]
    assert (job["event_type"], job["user_id"], job["action"], job["details"]) == (
        *("JOB", None, "purged", '{"days":3}'),
    )
    assert counted == [("GET", "things", 403), ("JOB", "things", 0)]


async def test_what_says_nothing_has_no_row(store: Store, table: sa.Table) -> None:
    log = AuditLog(store, table, prefix="/api", left_out={"/health"})
    for path in ("/api/health/", "/apis", "/other"):
        await log.observe(scope(path), Exchange("1", 0.0), 200)
    await log.observe({**scope("/api/things"), "method": "OPTIONS"}, Exchange("1", 0.0), 200)
    assert await rows(store) == []


@pytest.mark.parametrize(
    ("path", "prefix", "below"),
    [("/a/b/", "/a", "/b"), ("/a", "/a", "/"), ("/ab", "/a", None), ("/x/", "", "/x"), ("/", "", "/")],
)
def test_paths_below_a_prefix(path: str, prefix: str, below: str | None) -> None:
    assert path_below(scope(path), prefix) == below
