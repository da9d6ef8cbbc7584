"""An audit log: a row for each request of a surface, refused ones included, and for what its jobs did.

    audit = audit_table("notes_audit", metadata)          # and a revision of the plugin's that makes it
    log = AuditLog(gate.store, audit, prefix="/notes", left_out={"/health"})
    yield Surface("notes", ..., observe=log.observe)
    await log.note("purged", "notes", note.id, age_days=90)

A row says who, what, from where and with which status; never a body, and of a query's secrets that there was one. It
is there before the answer's last byte (see `Surface.observe`): who has read an answer finds it in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec
from sqlalchemy import Column, Double, Index, Integer, MetaData, Table, Text
from starlette.datastructures import Headers

from ..api import NEVER_REUSED, IdColumn, required_column

if TYPE_CHECKING:
    from starlette.types import Scope

    from ..api import Exchange, Store

    Counted = Callable[[str, str, int], object]

MASKED = frozenset({"token", "code", "verification_code", "password"})
"""Names in a query whose values are not written down."""
MAX_USER_AGENT = 500
"""Characters."""
JOB = "JOB"
"""What stands in place of a method where nobody asked."""


def audit_table(name: str, metadata: MetaData) -> Table:
    """The table of a log called `name`; a surface may have columns of its own besides, which stay empty."""
    return Table(
        name,
        metadata,
        Column("id", IdColumn, primary_key=True),
        required_column("timestamp", Double),
        Column("user_id", IdColumn),
        Column("user_email", Text),
        required_column("event_type", Text),
        required_column("resource_type", Text),
        Column("resource_id", Text),
        required_column("action", Text),
        required_column("details", Text),  # JSON
        required_column("status_code", Integer),
        Column("ip_address", Text),
        Column("user_agent", Text),
        Column("request_source", Text),
        Index(f"ix_{name}_timestamp", "timestamp"),
        Index(f"ix_{name}_user_id", "user_id", "timestamp"),
        **NEVER_REUSED,
    )


class AuditLog:
    """Writes into `table`. `prefix` stands before the paths of what is watched; `left_out` are paths that say nothing.

    `counted` is told of every row: its method (or `JOB`), what it is about, its status.
    """

    def __init__(
        self,
        store: Store,
        table: Table,
        *,
        prefix: str = "",
        left_out: Collection[str] = (),
        counted: Counted = lambda *_: None,
    ) -> None:
        self._store = store
        self._table = table
        self._prefix = prefix
        self._left_out = frozenset(left_out)
        self._counted = counted

    async def observe(self, scope: Scope, exchange: Exchange, status: int) -> None:
        """Note a request that was answered with `status`, unless its path is of another part, or says nothing."""
        path = path_below(scope, self._prefix)
        if path is None or path in self._left_out or scope["method"] == "OPTIONS":
            return
        headers, principal = Headers(scope=scope), exchange.principal
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        details = {
            "path": path,
            "query_params": {name: "***" if name.lower() in MASKED else value for name, value in query},
            "status_code": status,
        }
        await self._write(
            user_id=None if principal is None else principal.user_id,
            user_email=None if principal is None else principal.username,
            event_type=scope["method"],
            resource_type=resource_of(path),
            resource_id=next(iter(scope.get("path_params", {}).values()), None),
            action=f"{scope['method']} {path}",
            details=msgspec.json.encode(details).decode(),
            status_code=status,
            ip_address=scope["client"][0] if scope.get("client") else None,
            user_agent=headers.get("user-agent", "")[:MAX_USER_AGENT] or None,
            request_source=_source(headers),
        )

    async def note(self, action: str, resource_type: str, resource_id: object, **details: Any) -> None:
        """Note what a job did, on nobody's behalf."""
        await self._write(
            event_type=JOB,
            resource_type=resource_type,
            resource_id=str(resource_id),
            action=action,
            details=msgspec.json.encode(details).decode(),
            status_code=0,
        )

    async def _write(self, **row: Any) -> None:
        async with self._store.begin() as db:
            await db.execute(self._table.insert().values(timestamp=self._store.clock(), **row))
        self._counted(row["event_type"], row["resource_type"], row["status_code"])


def path_below(scope: Scope, prefix: str) -> str | None:
    """The path of a request below `prefix`, without a slash at its end; None for one of another part."""
    path: str = scope["path"]
    if path != prefix and not path.startswith(f"{prefix}/"):
        return None
    return path.removeprefix(prefix).rstrip("/") or "/"


def resource_of(path: str) -> str:
    """What a path is about: its first part."""
    return path.split("/")[1]


def _source(headers: Headers) -> str | None:
    """Whether a page asked, or a program."""
    if "origin" in headers or "referer" in headers:
        return "frontend"
    return "api" if "authorization" in headers else None
