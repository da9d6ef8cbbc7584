"""What a new API key may be, and whose it is."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import sqlalchemy as sa

from ..errors import BadRequest, Forbidden, NotFound
from ..permissions import Permissions, decode, encode, exceeds
from ..store.schema import api_keys, organizations, quotas, users
from .validation import name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..store import Store

Scope = Literal["account", "models"]
"""What a key may be held to: the operations of surfaces, or the routes to models."""

MOST_A_MINUTE = 10**9
LAST_TIME = 253_402_300_799.0
"""9999-12-31T23:59:59Z: there is no later time in RFC 3339."""
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{0,64}")


@dataclass(frozen=True, slots=True)
class NewKey:
    """What is asked for."""

    name: str
    prefix: str
    organization_id: int | None
    expires_at: float | None
    scope: Scope | None
    requests_per_minute: int | None
    permissions: Permissions | None = None

    def checked(self, now: float) -> dict[str, Any]:
        """As columns. Raises `BadRequest`."""
        if not _PREFIX.fullmatch(self.prefix):
            raise BadRequest("The prefix must be at most 64 of A-Z a-z 0-9 _ . -", param="prefix")
        if self.expires_at is not None and not (math.isfinite(self.expires_at) and self.expires_at > now):
            raise BadRequest("The key must expire in the future.", param="expires_at")
        if self.expires_at is not None and self.expires_at > LAST_TIME:
            raise BadRequest("The key must expire before the year 10000.", param="expires_at")
        if self.scope is not None and self.scope not in get_args(Scope):
            raise BadRequest(f"The scope must be one of {', '.join(get_args(Scope))}.", param="scope")
        return {
            "name": name_of("name", self.name),
            "prefix": self.prefix,
            "organization_id": self.organization_id,
            "expires_at": self.expires_at,
            "scope": self.scope,
            "requests_per_minute": rate_of(self.requests_per_minute),
            "permissions": None if self.permissions is None else encode(self.permissions.checked()),
        }


def rate_of(limit: int | None) -> int | None:
    """A limit of requests a minute. Raises `BadRequest` out of range."""
    if limit is not None and not 0 <= limit <= MOST_A_MINUTE:
        raise BadRequest(f"Requests a minute must be from 0 to {MOST_A_MINUTE}.", param="requests_per_minute")
    return limit


async def limits_of(conn: AsyncConnection, maker: int, wanted: NewKey) -> NewKey:
    """`wanted`, made by the key `maker`: it ends with it, and is good for no more.

    Raises `Forbidden` where the maker is held to an organization, a scope, a rate, quotas or anything of its
    permissions that the new key would not be held to: two keys of one spend twice.
    """
    columns = api_keys.c["organization_id", "expires_at", "scope", "requests_per_minute", "permissions"]
    mine = (await conn.execute(sa.select(*columns).where(api_keys.c.id == maker))).one()
    own = sa.select(quotas.c.id).where(
        quotas.c.subject_kind == "key", quotas.c.subject_id == maker, quotas.c.limit.is_not(None)
    )
    rate = wanted.requests_per_minute
    if (
        mine.organization_id not in (None, wanted.organization_id)
        or mine.scope not in (None, wanted.scope)
        or (mine.requests_per_minute is not None and (rate is None or rate > mine.requests_per_minute))
        or exceeds(wanted.permissions, decode(mine.permissions))
        or await conn.scalar(own.limit(1)) is not None
    ):
        raise Forbidden("This key cannot make one that may do or spend more than itself. Log in.")
    if mine.expires_at is None:
        return wanted
    ends = mine.expires_at if wanted.expires_at is None else min(wanted.expires_at, mine.expires_at)
    return replace(wanted, expires_at=ends)


async def service_user(
    store: Store, conn: AsyncConnection, organization_id: int, new_id: Callable[[], object]
) -> int:
    """The id of the user that an organization's own keys stand for, made now if there is none.

    It has no password and a name that nobody can guess, so that nobody takes it before. Raises `NotFound` for
    an organization that is not there or retired.
    """
    there = sa.select(organizations.c.id).where(
        organizations.c.id == organization_id, organizations.c.retired_at.is_(None)
    )
    if await conn.scalar(there) is None:
        raise NotFound("There is no such organization.")
    uuid, now = str(new_id()), store.clock()
    row = {
        "uuid": uuid,
        "username": f"service-{uuid}",
        "is_active": True,
        "created_at": now,
        "updated_at": now,
        "service_of": organization_id,
    }
    await conn.execute(store.insert(users).values(row).on_conflict_do_nothing())
    found: int = (
        await conn.execute(sa.select(users.c.id).where(users.c.service_of == organization_id))
    ).scalar_one()
    return found
