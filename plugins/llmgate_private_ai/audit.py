"""What admins read of the audit log, which has a row for each request of this API, refused ones included."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import sqlalchemy as sa
from msgspec import Meta, Struct

from .shapes import Id, iso, unfit
from .tables import audit

if TYPE_CHECKING:
    from llmgate.plugin.api import Call, Store

    from .access import Caller

LEFT_OUT = frozenset(
    {
        "/",
        "/health",
        "/docs",
        "/openapi.json",
        "/metrics",
        "/audit",
        "/audit/logs",
        "/audit/logs/metadata",
        "/auth/me",
        "/config",  # of the dashboard: what its pages have to know
    }
)
NOT_AUTHORIZED = "Not authorized to access audit logs"


class LogQuery(Struct, frozen=True):
    """Query of `GET /audit/logs`; lists are written with commas."""

    skip: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    event_type: str = ""
    resource_type: str = ""
    status_code: str = ""
    user_id: Id | None = None
    user_email: str = ""
    from_date: str = ""
    to_date: str = ""


class PageQuery(Struct, frozen=True):
    """Query of `GET /audit`."""

    page: Annotated[int, Meta(ge=1, le=10**9)] = 1
    per_page: Annotated[int, Meta(ge=1, le=1000)] = 50


class ShownEvent(Struct, frozen=True, kw_only=True):
    """One request."""

    id: int
    timestamp: str
    user_id: int | None
    user_email: str | None
    event_type: str
    resource_type: str
    resource_id: str | None
    action: str
    details: dict[str, Any]
    ip_address: str | None
    user_agent: str | None
    request_source: str | None


class ShownLog(Struct, frozen=True):
    """Some of the log, the newest first, and how much there is."""

    items: list[ShownEvent]
    total: int


class ShownPage(Struct, frozen=True):
    """A page of the log."""

    items: list[ShownEvent]
    total: int
    page: int
    per_page: int
    pages: int


class ShownMetadata(Struct, frozen=True):
    """What one may filter by."""

    event_types: list[str]
    resource_types: list[str]
    status_codes: list[int]


class AuditOperations:
    """What admins read of the log in `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def logs(self, call: Call[None, LogQuery, Caller]) -> ShownLog:
        """What matches, the newest first."""
        query = call.query
        items, total = await self._select(_conditions(query), query.skip, query.limit)
        return ShownLog(items, total)

    async def page(self, call: Call[None, PageQuery, Caller]) -> ShownPage:
        """A page of all."""
        page, per_page = call.query.page, call.query.per_page
        items, total = await self._select([], (page - 1) * per_page, per_page)
        return ShownPage(items, total, page, per_page, -(-total // per_page))

    async def metadata(self, _: Call[None, None, Caller]) -> ShownMetadata:
        """What there is to filter by."""
        async with self._store.connect() as db:
            found = [
                list(
                    (await db.execute(sa.select(audit.c[name]).distinct().order_by(audit.c[name]))).scalars()
                )
                for name in ("event_type", "resource_type", "status_code")
            ]
        return ShownMetadata(*found)

    async def _select(
        self, where: list[sa.ColumnElement[bool]], skip: int, limit: int
    ) -> tuple[list[ShownEvent], int]:
        query = sa.select(audit).where(*where).order_by(audit.c.id.desc()).offset(skip).limit(limit)
        async with self._store.connect() as db:
            total = await db.scalar(sa.select(sa.func.count()).select_from(audit).where(*where))
            rows = (await db.execute(query)).mappings()
            return [_shown(row) for row in rows], int(total or 0)


def _shown(row: sa.RowMapping) -> ShownEvent:
    values = {
        name: row[name] for name in ShownEvent.__struct_fields__ if name not in ("timestamp", "details")
    }
    return ShownEvent(timestamp=iso(row["timestamp"]), details=msgspec.json.decode(row["details"]), **values)


def _conditions(query: LogQuery) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if query.event_type:
        conditions.append(audit.c.event_type.in_(query.event_type.split(",")))
    if query.resource_type:
        conditions.append(audit.c.resource_type.in_(query.resource_type.split(",")))
    if query.status_code:
        codes = query.status_code.split(",")
        if not all(code.isascii() and code.isdigit() and len(code) < 4 for code in codes):
            raise unfit("status_code: expected numbers with commas between", "status_code")
        conditions.append(audit.c.status_code.in_([int(code) for code in codes]))
    if query.user_id is not None:
        conditions.append(audit.c.user_id == query.user_id)
    if query.user_email:
        conditions.append(audit.c.user_email.icontains(query.user_email, autoescape=True))
    if query.from_date:
        conditions.append(audit.c.timestamp >= _moment(query.from_date, "from_date"))
    if query.to_date:
        conditions.append(audit.c.timestamp <= _moment(query.to_date, "to_date"))
    return conditions


def _moment(text: str, param: str) -> float:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise unfit(f"{param}: expected a time as in ISO 8601", param) from error
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)).timestamp()
