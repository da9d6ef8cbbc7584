"""Users and their keys: permanent, each with its own number of requests a day."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from llmgate.plugin.api import (
    Allotment,
    BadRequest,
    Conflict,
    Demand,
    Filter,
    Outcome,
    QuotaExhausted,
    Reply,
    Subject,
    Unit,
    Window,
    subjects_of,
)
from llmgate.plugin.kit.accounts import Accounts as KitAccounts
from llmgate.plugin.kit.shapes import filled, masked

from .settings import Line
from .shapes import SURFACE, Invalid, Missing, id_of, iso, iso_or_none

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import AnyCall, Balance, Call, Header, Key, Ledger, Services

    from .settings import Settings

PREFIX = "llm_"
Handler = Callable[["AnyCall"], Awaitable[object]]
RateLimit = Annotated[int, Meta(ge=1, le=2**53)]


class Registration(Struct, frozen=True):
    """Body of `POST /auth/register`."""

    username: str
    email: str
    password: str

    __repr__ = masked("email", "password")


class Registered(Struct, frozen=True):
    """A new user with the first key, which is shown this once."""

    user_id: int
    username: str
    api_key: str
    message: str = "User registered successfully"

    __repr__ = masked("api_key")


class NewKey(Struct, frozen=True):
    """Body of `POST /auth/keys`. `rate_limit`: requests a day."""

    key_name: Line = "New API Key"
    rate_limit: RateLimit | None = None


class CreatedKey(Struct, frozen=True):
    """A new key, whose value is shown this once."""

    id: int
    key_name: str
    key_value: str
    rate_limit: int
    message: str = "API key created successfully"

    __repr__ = masked("key_value")


class ListedKey(Struct, frozen=True):
    """A key. `usage_count` is what was counted today, `total_usage` since it was made."""

    id: int
    key_name: str
    created_at: str
    last_used: str | None
    usage_count: int
    total_usage: int
    rate_limit: int | None


class KeyList(Struct, frozen=True):
    """The active keys of the caller, oldest first."""

    api_keys: list[ListedKey]


class Done(Struct, frozen=True):
    """What was done."""

    message: str


class Accounts:
    """One method for each operation."""

    def __init__(self, settings: Settings, gate: Services) -> None:
        self._settings = settings
        self._accounts = KitAccounts(gate.identity, is_open=settings.registration == "open")
        self._keys = gate.identity.keys
        self._quotas = gate.quotas
        self._reports = gate.reports

    async def register(self, call: Call[Registration]) -> Registered:
        """A new user, and the key called Default Key."""
        try:
            user = await self._accounts.register(call)
        except Conflict as error:
            raise BadRequest("User already exists") from error
        except BadRequest as error:
            raise Invalid(error.param or _field_of(error.message), error.message) from error
        _, secret = await self._new_key(user.id, "Default Key", self._settings.rate_limit)
        return Registered(user.id, user.username, secret)

    async def create(self, call: Call[NewKey]) -> CreatedKey:
        """Another key of the caller."""
        wanted, owner = call.body, call.principal.user_id
        limit = self._settings.rate_limit if wanted.rate_limit is None else wanted.rate_limit
        if limit > self._settings.max_rate_limit:
            raise Invalid("rate_limit", f"at most {self._settings.max_rate_limit}")
        if len(await self._keys.of_user(owner)) >= self._settings.max_keys:
            raise BadRequest(f"Too many API keys: at most {self._settings.max_keys}")
        if not wanted.key_name.isprintable():
            raise Invalid("key_name", "expected printable characters")
        key, secret = await self._new_key(owner, wanted.key_name, limit)
        return CreatedKey(key.id, key.name, secret, limit)

    async def everything(self, call: Call) -> KeyList:
        """The caller's keys. It counts for nothing: who has spent a key must be able to see that."""
        owner = call.principal.user_id
        which = Filter(user_id=owner, outcome=Outcome.FINISHED)
        total = {key: totals.requests for key, totals in await self._reports.grouped("key_id", which)}
        listed = []
        for key in await self._keys.of_user(owner):
            balance = await self.daily(key.id)
            listed.append(
                filled(
                    ListedKey,
                    key,
                    time=iso,
                    key_name=key.name,
                    last_used=iso_or_none(key.last_used_at),
                    usage_count=balance.used if balance else total.get(key.id, 0),
                    total_usage=total.get(key.id, 0),
                    rate_limit=balance.allotment.limit if balance else None,
                )
            )
        return KeyList(listed)

    async def delete(self, call: Call) -> Done:
        """End a key of the caller's at once. Raises `Missing`."""
        wanted = id_of(call)
        if wanted not in {key.id for key in await self._keys.of_user(call.principal.user_id)}:
            raise Missing("API key not found")
        await self._keys.revoke(wanted)
        return Done("API key deactivated successfully")

    async def daily(self, key_id: int) -> Balance | None:
        """Where the daily limit of a key stands; None for a key that has none, made elsewhere."""
        for balance in await self._quotas.of(Subject("key", key_id)):
            allotment = balance.allotment
            if allotment == _daily(allotment.limit):
                return balance
        return None

    async def rate_headers(self, call: AnyCall) -> list[Header]:
        """What is left of the caller's day."""
        key_id = call.principal.key_id
        balance = None if key_id is None else await self.daily(key_id)
        if balance is None:
            return []
        return [
            (b"x-ratelimit-limit", b"%d" % balance.allotment.limit),
            (b"x-ratelimit-remaining", b"%d" % balance.remaining),
            (b"x-ratelimit-reset", b"%d" % balance.window_end),
        ]

    async def _new_key(self, user_id: int, name: str, limit: int) -> tuple[Key, str]:
        """A key that is held to its limit before anybody knows it."""

        async def hold(db: AsyncConnection, key: Key, _secret: str) -> None:
            await self._quotas.give(db, Subject("key", key.id), _daily(limit))

        return await self._keys.create(user_id, name, prefix=PREFIX, also=hold)


def counted(ledger: Ledger, handler: Handler, status: int = 201) -> Handler:
    """`handler` as one request of the caller's day: held before it, charged when it has done its work, else free."""

    async def run(call: AnyCall) -> Reply:
        subjects = subjects_of(call.principal)
        async with ledger.charge(call.exchange, subjects, Demand(0), endpoint=SURFACE) as charge:
            result = await handler(call)
            reply = result if isinstance(result, Reply) else Reply(result, status)
            await charge.settle(status=reply.status)
        return reply

    return run


def with_rates(accounts: Accounts, handler: Handler) -> Handler:
    """`handler`, whose answers say what is left of the caller's day, spent or not."""

    async def run(call: AnyCall) -> Reply:
        try:
            reply = await handler(call)
        except QuotaExhausted as refusal:
            refusal.headers += await accounts.rate_headers(call)
            raise
        assert isinstance(reply, Reply)
        return reply._replace(headers=[*reply.headers, *await accounts.rate_headers(call)])

    return run


def _daily(limit: int) -> Allotment:
    return Allotment(Unit.REQUESTS, limit, Window.DAY)


def _field_of(message: str) -> str:
    """Which field a rule of the core's speaks of, where it does not say so itself."""
    words = message.lower()
    return next((name for name in ("password", "email", "username") if name in words), "username")
