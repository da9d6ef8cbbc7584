"""Users, sessions and API keys in the guide's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from llmgate.plugin.api import ADMIN
from llmgate.plugin.kit.accounts import Accounts, Credentials
from llmgate.plugin.kit.api_keys import ApiKeys
from llmgate.plugin.kit.formats import naive_iso
from llmgate.plugin.kit.shapes import filled, masked

if TYPE_CHECKING:
    from llmgate.plugin.api import AnyCall, Call, Clock, Identity, Key

KEY_PREFIX = "bku_"
DAY = 86_400


class Registration(Credentials, frozen=True):
    """Body of `POST /auth/register`."""

    email: str | None = None


class Account(Struct, frozen=True):
    """A user."""

    id: int
    username: str
    email: str | None
    is_active: bool
    is_admin: bool
    created_at: str


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

    __repr__ = masked("key")


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
    """The operations. They raise `Refusal`s."""

    def __init__(self, identity: Identity, clock: Clock, *, closed: bool, first_is_admin: bool) -> None:
        self.accounts = Accounts(identity, is_open=not closed, first_roles=(ADMIN,) if first_is_admin else ())
        self.keys = ApiKeys(identity, terms=self._terms, created=_created, listed=self._listed)
        self._clock = clock

    async def register(self, call: Call[Registration]) -> Account:
        """A new user."""
        return filled(Account, await self.accounts.register(call), time=naive_iso)

    async def me(self, call: Call) -> Account:
        """Who calls."""
        return filled(Account, await self.accounts.caller(call), time=naive_iso)

    def _terms(self, call: Call[NewKey]) -> dict[str, Any]:
        days = call.body.expires_in_days
        expires_at = None if days is None else self._clock() + days * DAY
        return {"name": call.body.name, "prefix": KEY_PREFIX, "expires_at": expires_at}

    def _listed(self, key: Key) -> ListedKey:
        active = key.expires_at is None or key.expires_at > self._clock()
        return filled(ListedKey, key, time=naive_iso, key=key.masked, is_active=active)


def _created(_: AnyCall, key: Key, secret: str) -> CreatedKey:
    return filled(CreatedKey, key, time=naive_iso, key=secret, is_active=True)
