"""Registration, login, API keys, and the public keys of sessions."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct

from llmgate.plugin.api import ADMIN, BadRequest, Conflict, Forbidden, NotFound, Reply, Unauthenticated
from llmgate.plugin.kit.formats import NO_STORE, rfc3339

from .words import roles_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import Call, Identity, Key, User
    from llmgate.plugin.kit.access import Access


class Login(Struct, frozen=True):
    """Body of `POST /api/v1/auth/login`; the password does not show."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.username!r}, '***')"


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

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.user_id!r}, token='***')"


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

    def __repr__(self) -> str:
        return f"CreatedKey({self.id!r}, raw_key='***')"


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
        open_to_all: bool,
        give_quotas: Callable[[AsyncConnection, int], Awaitable[object]],
    ) -> None:
        self._users = identity.users
        self._sessions = identity.sessions
        self._keys = identity.keys
        self._access = access
        self._open_to_all = open_to_all
        self._give_quotas = give_quotas

    async def register(self, call: Call[Registration]) -> Reply:
        """A new user with the starting quotas, both or neither, and a session."""
        if not self._open_to_all:
            raise Forbidden("Registration is closed. Ask an administrator for an account.")
        wanted = call.body
        try:
            user = await self._users.register(
                wanted.username,
                wanted.password,
                email=wanted.email,
                client=call.client,
                also=self._give_quotas,
            )
        except Conflict as error:
            raise BadRequest(error.message, param=error.param) from error
        session = await self._sessions.issue(user)
        return Reply(Registered(**_person(user, session.token)), 201, NO_STORE)

    async def log_in(self, call: Call[Login]) -> Reply:
        """A session for a name and password."""
        wanted = call.body
        user = await self._users.authenticate(wanted.username, wanted.password, client=call.client)
        session = await self._sessions.issue(user)
        answer = LoggedIn(**_person(user, session.token), expires_at=rfc3339(session.expires_at))
        return Reply(answer, 200, NO_STORE)

    async def log_out_everywhere(self, call: Call) -> None:
        """End all sessions of the caller; keys stay."""
        await self._sessions.revoke_all(call.principal.user_id)

    async def create_key(self, call: Call[NewKey]) -> Reply:
        """A new API key of the user; its secret is in this answer and nowhere else."""
        wanted = call.body
        user = await self._access.user(call.principal, wanted.user_id)
        key, secret = await self._keys.create(
            user.id,
            wanted.name,
            prefix=f"leaky_{user.uuid}_",
            expires_at=None if wanted.expires_at is None else wanted.expires_at.timestamp(),
        )
        created = CreatedKey(key.uuid, user.uuid, key.name, rfc3339(key.created_at), _end(key), secret)
        return Reply(created, 201, NO_STORE)

    async def list_keys(self, call: Call[None, OfUser]) -> list[ListedKey]:
        """The keys of the user that are not revoked."""
        user = await self._access.user(call.principal, call.query.user_id)
        keys = await self._keys.of_user(user.id)
        return [ListedKey(key.uuid, key.name, rfc3339(key.created_at), _end(key)) for key in keys]

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
        return ValidKey(user.uuid, key.name, _end(key), roles_of(caller.roles))

    async def jwks(self, _: Call) -> dict[str, Any]:
        """The public keys that verify sessions (RFC 7517), those that sign no more included."""
        return await self._sessions.jwks()

    async def rotate(self, _: Call) -> dict[str, Any]:
        """Sign with a new key from now on; sessions that are open hold until they expire."""
        await self._sessions.rotate()
        return await self._sessions.jwks()


def _person(user: User, token: str) -> dict[str, Any]:
    return {
        "user_id": user.uuid,
        "username": user.username,
        "email": user.email,
        "token": token,
        "roles": roles_of(user.roles),
        "created_at": rfc3339(user.created_at),
    }


def _end(key: Key) -> str | None:
    return None if key.expires_at is None else rfc3339(key.expires_at)
