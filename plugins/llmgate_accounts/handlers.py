"""What the operations do: the guide's requests and answers over the gate's users, sessions and quotas."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from llmgate.plugin.api import (
    ADMIN,
    Allotment,
    BadRequest,
    Filter,
    PasswordRules,
    Subject,
    Unit,
)
from llmgate.plugin.kit.accounts import Accounts, Credentials
from llmgate.plugin.kit.formats import TokenCount

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import AnyCall, Balance, Call, Identity, Quotas, Reports

    from .settings import Settings


GUIDES_RULES = PasswordRules(min_length=1, max_bytes=72)
"""The guide's own rule for passwords, on top of those in gate.toml."""


class Registration(Credentials, frozen=True):
    """Body of `POST /auth/register`."""

    token_limit: TokenCount | None = None


class LoginForm(Credentials, frozen=True):
    """Form of `POST /auth/token` (RFC 6749, 4.3.2); the guide leaves `grant_type` out."""

    grant_type: Literal["password", ""] = ""


class TokenLimit(Struct, frozen=True):
    """Body of `PUT /users/me/token-limit`."""

    token_limit: TokenCount


class Account(Struct, frozen=True):
    """A user. `token_limit` is null for one without a limit: made elsewhere, in a gate without [[quotas]]."""

    id: int
    username: str
    token_limit: int | None
    tokens_used: int


class Usage(Struct, frozen=True):
    """Tokens, prompts and answers together, as the model reported them."""

    tokens_used: int
    token_limit: int | None
    remaining: int | None


class Handlers:
    """One method for each operation. They raise `Refusal`s, which the surface puts into FastAPI's shape."""

    def __init__(self, settings: Settings, identity: Identity, quotas: Quotas, reports: Reports) -> None:
        self._settings = settings
        self.accounts = Accounts(identity, is_open=settings.registration == "open", rules=GUIDES_RULES)
        self._quotas = quotas
        self._reports = reports

    async def register(self, call: Call[Registration]) -> Account:
        """A new user and the token limit, both or neither."""
        self.accounts.check_open()
        wanted = call.body
        limit = self._settings.token_limit if wanted.token_limit is None else wanted.token_limit
        if not self._may_ask_for(limit):
            raise BadRequest(f"The token limit can be at most {self._settings.max_token_limit}.")

        async def give_limit(db: AsyncConnection, user_id: int) -> None:
            await self._quotas.give(db, Subject("user", user_id), Allotment(Unit.TOKENS, limit))

        user = await self.accounts.register(call, also=give_limit)
        return Account(user.id, user.username, limit, 0)

    async def me(self, call: AnyCall) -> Account:
        """Who calls."""
        usage = await self._usage(call.principal.user_id)
        return Account(call.principal.user_id, call.principal.username, usage.token_limit, usage.tokens_used)

    async def usage(self, call: Call) -> Usage:
        """What the caller has used and has left."""
        return await self._usage(call.principal.user_id)

    async def set_token_limit(self, call: Call[TokenLimit]) -> Account:
        """Another limit for the caller; what was used stays used."""
        wanted = call.body
        limit, user_id = wanted.token_limit, call.principal.user_id
        may_raise = ADMIN in call.principal.roles or (self._settings.may_raise and self._may_ask_for(limit))
        present = await self._balance(user_id)
        allotment = present.allotment if present is not None else Allotment(Unit.TOKENS, limit)
        await self._quotas.set(Subject("user", user_id), replace(allotment, limit=limit), may_raise=may_raise)
        return await self.me(call)

    def _may_ask_for(self, limit: int) -> bool:
        most = self._settings.max_token_limit
        return most is None or limit <= most

    async def _usage(self, user_id: int) -> Usage:
        balance = await self._balance(user_id)
        if balance is not None:
            return Usage(balance.used, balance.allotment.limit, balance.remaining)
        totals = await self._reports.totals(Filter(user_id=user_id))
        return Usage(totals.tokens, None, None)

    async def _balance(self, user_id: int) -> Balance | None:
        """The user's token limit, among all quotas that the operator may have set."""
        for balance in await self._quotas.of(Subject("user", user_id)):
            allotment = balance.allotment
            if allotment == Allotment(Unit.TOKENS, allotment.limit, overdraft=allotment.overdraft):
                return balance
        return None
