"""Registration, login, API keys, and the public keys of sessions."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct

from llmgate.plugin.api import ADMIN, BadRequest, Conflict, Forbidden, NotFound, Unauthenticated
from llmgate.plugin.kit.accounts import Accounts, Credentials
from llmgate.plugin.kit.api_keys import ApiKeys
from llmgate.plugin.kit.formats import rfc3339
from llmgate.plugin.kit.shapes import filled, masked

from .words import roles_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import AnyCall, Call, Identity, Key, Reply, Session, User
    from llmgate.plugin.kit.access import Access


class Login(Credentials, frozen=True):
    """Body of `POST /api/v1/auth/login`; the password does not show."""


class Registration(Login, frozen=True):
    """Body of `POST /api/v1/auth/register`."""

    email: str


class Registered(Struct, frozen=True, rename="camel"):
    """A user who has just been made, signed in."""

    user_id: str
    username: str
    email: str | None
    token: str
    roles: list[str]
    created_at: str

    __repr__ = masked("token")


class LoggedIn(Registered, frozen=True):
    """A user who has signed in."""

    expires_at: str


class NewKey(Struct, frozen=True, rename="camel"):
    """Body of `POST /api/v1/auth/api-keys`; without `expiresAt` the key lasts until it is revoked."""

    user_id: UUID
    name: str
    expires_at: Annotated[dt.datetime, Meta(tz=True)] | None = None


class ListedKey(Struct, frozen=True, rename="camel"):
    """An API key, without its secret."""

    id: str
    name: str
    created_at: str
    expires_at: str | None


class CreatedKey(Struct, frozen=True, rename="camel"):
    """An API key as it is seen once, with its secret."""

    id: str
    user_id: str
    name: str
    created_at: str
    expires_at: str | None
    raw_key: str

    __repr__ = masked("raw_key")


class ValidKey(Struct, frozen=True, rename="camel"):
    """What an API key stands for."""

    user_id: str
    name: str
    expires_at: str | None
    roles: list[str]


class OfUser(Struct, frozen=True, rename="camel"):
    """Query of what belongs to a user."""

    user_id: UUID


class OneKey(OfUser, frozen=True):
    """Query of `DELETE /api/v1/auth/api-keys`."""

    api_key_id: UUID


class Auth:
    """The operations under /api/v1/auth and /oauth2."""

    def __init__(
        self,
        identity: Identity,
        access: Access,
        *,
        is_open: bool,
        give_quotas: Callable[[AsyncConnection, int], Awaitable[object]],
    ) -> None:
        self._users = identity.users
        self._sessions = identity.sessions
        self._keys = identity.keys
        self._access = access
        self._give_quotas = give_quotas
        self.accounts = Accounts(identity, signed_in=partial(_signed_in, LoggedIn), is_open=is_open)
        self.keys = ApiKeys(identity, terms=_terms, created=_created, listed=_listed, owner=self._owner)

    async def register(self, call: Call[Registration]) -> Reply:
        """A new user with the starting quotas, both or neither, and a session."""
        try:
            user = await self.accounts.register(call, also=self._give_quotas)
        except Conflict as error:
            raise BadRequest(error.message, param=error.param) from error
        return await self.accounts.begin(user, partial(_signed_in, Registered), status=201)

    async def revoke_key(self, call: Call[None, OneKey]) -> None:
        """End a key of the user for good, at once."""
        wanted = call.query
        user = await self._access.user(call.principal, wanted.user_id)
        key = await self._keys.by_uuid(str(wanted.api_key_id))
        if key.user_id != user.id:
            if ADMIN in call.principal.roles:
                raise NotFound("This user has no such key.")
            raise Forbidden("This key belongs to another user.")
        if key.revoked_at is not None:
            raise NotFound("There is no such key.")
        await self._keys.revoke(key.id)

    async def validate_key(self, call: Call) -> ValidKey:
        """What the key of this request stands for."""
        caller = call.principal
        if caller.key_id is None:
            raise Unauthenticated("Send an API key as `X-Api-Key: KEY`.")
        key = await self._keys.by_id(caller.key_id)
        user = await self._users.by_id(caller.user_id)
        return filled(ValidKey, key, user_id=user.uuid, roles=roles_of(caller.roles))

    async def jwks(self, _: Call) -> dict[str, Any]:
        """The public keys that verify sessions (RFC 7517), those that sign no more included."""
        return await self._sessions.jwks()

    async def rotate(self, _: Call) -> dict[str, Any]:
        """Sign with a new key from now on; sessions that are open hold until they expire."""
        await self._sessions.rotate()
        return await self._sessions.jwks()

    async def _owner(self, call: AnyCall) -> int:
        return (await self._access.user(call.principal, (call.body or call.query).user_id)).id


def _signed_in(kind: type[Registered], user: User, session: Session) -> Registered:
    ends: dict[str, Any] = {"expires_at": rfc3339(session.expires_at)} if kind is LoggedIn else {}
    return filled(kind, user, user_id=user.uuid, token=session.token, roles=roles_of(user.roles), **ends)


def _terms(call: Call[NewKey]) -> dict[str, Any]:
    wanted = call.body
    ends = None if wanted.expires_at is None else wanted.expires_at.timestamp()
    return {"name": wanted.name, "prefix": f"leaky_{wanted.user_id}_", "expires_at": ends}


def _created(call: Call[NewKey], key: Key, secret: str) -> CreatedKey:
    return filled(CreatedKey, key, id=key.uuid, user_id=str(call.body.user_id), raw_key=secret)


def _listed(key: Key) -> ListedKey:
    return filled(ListedKey, key, id=key.uuid)
