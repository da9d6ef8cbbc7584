"""Users, sessions and API keys in the guide's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from llmgate.plugin.api import ADMIN, Forbidden, NotFound, Reply
from llmgate.plugin.kit.formats import NO_STORE, id_in_path, naive_iso

if TYPE_CHECKING:
    from llmgate.plugin.api import Call, Clock, Identity, Key, User

KEY_PREFIX = "bku_"
DAY = 86_400


class Credentials(Struct, frozen=True):
    """A name and a password, which does not show."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.username!r}, '***')"


class Registration(Credentials, frozen=True):
    """Body of `POST /auth/register`."""

    email: str | None = None

    __repr__ = Credentials.__repr__


class Account(Struct, frozen=True):
    """A user."""

    id: int
    username: str
    email: str | None
    is_active: bool
    is_admin: bool
    created_at: str


class Token(Struct, frozen=True):
    """An access token."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - its type

    def __repr__(self) -> str:
        return "Token('***')"


class NewKey(Struct, frozen=True):
    """Body of `POST /auth/api-keys`. Without `expires_in_days` a key lasts until it is deleted."""

    name: str
    expires_in_days: Annotated[int, Meta(ge=1, le=36_500)] | None = None


class CreatedKey(Struct, frozen=True):
    """A new key: the only answer that shows it whole."""

    id: int
    name: str
    key: str
    is_active: bool
    expires_at: str | None
    created_at: str

    def __repr__(self) -> str:
        return f"CreatedKey({self.id}, {self.name!r}, '***')"


class ListedKey(Struct, frozen=True):
    """A key, of which `key` shows the beginning and the end."""

    id: int
    name: str
    key: str
    is_active: bool
    expires_at: str | None
    created_at: str
    last_used_at: str | None


class Auth:
    """One method for each operation. They raise `Refusal`s."""

    def __init__(self, identity: Identity, clock: Clock, *, closed: bool, first_is_admin: bool) -> None:
        self._users = identity.users
        self._sessions = identity.sessions
        self._keys = identity.keys
        self._clock = clock
        self._closed = closed
        self._first_roles = (ADMIN,) if first_is_admin else ()

    async def register(self, call: Call[Registration]) -> Account:
        """A new user."""
        if self._closed:
            raise Forbidden("Registration is closed. Ask an administrator for an account.")
        wanted = call.body
        user = await self._users.register(
            wanted.username,
            wanted.password,
            email=wanted.email,
            client=call.client,
            first_roles=self._first_roles,
        )
        return _account(user)

    async def log_in(self, call: Call[Credentials]) -> Reply:
        """A session for a name (or e-mail address) and password."""
        wanted = call.body
        user = await self._users.authenticate(wanted.username, wanted.password, client=call.client)
        session = await self._sessions.issue(user)
        return Reply(Token(session.token), 200, NO_STORE)

    async def me(self, call: Call) -> Account:
        """Who calls."""
        return _account(await self._users.by_id(call.principal.user_id))

    async def create_key(self, call: Call[NewKey]) -> Reply:
        """A new key of the caller. A key makes no keys: one that is lost must not live on in others."""
        if call.principal.session_id is None:
            raise Forbidden("API keys are made with an access token. Log in first.")
        wanted = call.body
        days = wanted.expires_in_days
        expires_at = None if days is None else self._clock() + days * DAY
        key, secret = await self._keys.create(
            call.principal.user_id, wanted.name, prefix=KEY_PREFIX, expires_at=expires_at
        )
        created = CreatedKey(
            key.id, key.name, secret, True, naive_iso(key.expires_at), naive_iso(key.created_at)
        )
        return Reply(created, 201, NO_STORE)

    async def list_keys(self, call: Call) -> list[ListedKey]:
        """The caller's keys that are not deleted, oldest first."""
        return [self._listed(key) for key in await self._keys.of_user(call.principal.user_id)]

    async def delete_key(self, call: Call) -> Reply:
        """End one of the caller's keys, at once."""
        key = await self._keys.by_id(id_in_path(call, "API key"))
        if key.user_id != call.principal.user_id or key.revoked_at is not None:
            raise NotFound("There is no such API key.")
        await self._keys.revoke(key.id)
        return Reply(None, 204)

    def _listed(self, key: Key) -> ListedKey:
        active = key.expires_at is None or key.expires_at > self._clock()
        return ListedKey(
            key.id,
            key.name,
            key.masked,
            active,
            naive_iso(key.expires_at),
            naive_iso(key.created_at),
            naive_iso(key.last_used_at),
        )


def _account(user: User) -> Account:
    return Account(
        user.id, user.username, user.email, user.is_active, user.is_admin, naive_iso(user.created_at)
    )
