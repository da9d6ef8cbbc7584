"""Quotas of users and organizations, provider by provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from llmgate.plugin.api import Allotment, BadRequest, Filter, NotFound, Subject, Unit, Window
from llmgate.plugin.kit.formats import TokenCount, rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import Balance, Call, Organization, Quotas, Reports, User
    from llmgate.plugin.kit.access import Access

    from .providers import Provider


class UserQuery(Struct, frozen=True, rename="camel"):
    """Query of `GET /api/v1/tokens/quota`."""

    user_id: UUID
    provider: str


class OrganizationQuery(Struct, frozen=True, rename="camel"):
    """Query of `GET /api/v1/tokens/quota/org`."""

    org_id: UUID
    provider: str


class UserLimit(UserQuery, frozen=True):
    """Body of `PUT /api/v1/tokens/quota`."""

    total_tokens: TokenCount


class OrganizationLimit(OrganizationQuery, frozen=True):
    """Body of `PUT /api/v1/tokens/quota/org`."""

    total_tokens: TokenCount


class UserQuota(Struct, frozen=True, rename="camel"):
    """What a user may spend with a provider; `resetTime` where the quota starts over by itself."""

    user_id: str
    provider: str
    total_tokens: int
    remaining_tokens: int
    updated_at: str
    reset_time: str | UnsetType = UNSET


class OrganizationQuota(Struct, frozen=True, rename="camel"):
    """What an organization may spend with a provider."""

    org_id: str
    provider: str
    total_tokens: int
    remaining_tokens: int
    updated_at: str
    reset_time: str | UnsetType = UNSET


QuotaT = TypeVar("QuotaT", UserQuota, OrganizationQuota)


class ProviderQuotas:
    """The core's token quotas as they hold for `providers`.

    With `only_own`, tokens that somebody has for all upstreams together give nothing here; as limits they hold.
    """

    def __init__(self, quotas: Quotas, providers: Mapping[str, Provider], *, only_own: bool = False) -> None:
        self._quotas = quotas
        self._providers = providers
        self._only_own = only_own

    def provider(self, name: str) -> Provider:
        """The provider called `name`. Raises `BadRequest` naming those that there are."""
        found = self._providers.get(name)
        if found is None:
            raise BadRequest(f"provider: expected one of {', '.join(self._providers)}", param="provider")
        return found

    async def find(self, subject: Subject, provider: str) -> Balance | None:
        """The quota that holds for the provider: of several the tightest. None if there is none."""
        model = self.provider(provider).model
        covering = [
            balance
            for balance in await self._quotas.of(subject)
            if balance.allotment.unit is Unit.TOKENS
            and balance.allotment.upstream in self._upstreams(provider)
            and balance.allotment.model in ("", model)
        ]
        return min(covering, key=lambda balance: balance.remaining, default=None)

    def _upstreams(self, provider: str) -> tuple[str, ...]:
        return (provider,) if self._only_own else ("", provider)

    async def set(self, subject: Subject, provider: str, limit: int) -> None:
        """Give the subject this many tokens for the provider; what was used stays used."""
        self.provider(provider)
        await self._quotas.set(subject, allotment(provider, limit))

    async def grow(self, db: AsyncConnection, subject: Subject, provider: str, by: int) -> None:
        """Add bought tokens within the transaction `db`, a `Store.change`; a negative `by` takes them back."""
        await self._quotas.grow(db, subject, allotment(provider), by)

    async def start(self, db: AsyncConnection, user_id: int) -> None:
        """Give a new user what each provider starts with, within the transaction that makes the user."""
        for name, provider in self._providers.items():
            if provider.starting_tokens is not None:
                await self._quotas.give(
                    db, Subject("user", user_id), allotment(name, provider.starting_tokens)
                )


class QuotaOperations:
    """The operations under /api/v1/tokens/quota."""

    def __init__(self, quotas: ProviderQuotas, reports: Reports, access: Access) -> None:
        self._quotas = quotas
        self._reports = reports
        self._access = access

    async def of_user(self, call: Call[None, UserQuery]) -> UserQuota:
        """What a user has left with a provider."""
        user = await self._access.user(call.principal, call.query.user_id)
        return await self._shown(UserQuota, user, Subject("user", user.id), call.query.provider)

    async def of_organization(self, call: Call[None, OrganizationQuery]) -> OrganizationQuota:
        """What an organization has left with a provider."""
        team = await self._access.organization(call.principal, call.query.org_id)
        subject = Subject("organization", team.id)
        return await self._shown(OrganizationQuota, team, subject, call.query.provider)

    async def set_user(self, call: Call[UserLimit]) -> UserQuota:
        """Set what a user may spend with a provider."""
        wanted = call.body
        user = await self._access.user(call.principal, wanted.user_id)
        subject = Subject("user", user.id)
        await self._quotas.set(subject, wanted.provider, wanted.total_tokens)
        return await self._shown(UserQuota, user, subject, wanted.provider)

    async def set_organization(self, call: Call[OrganizationLimit]) -> OrganizationQuota:
        """Set what an organization may spend with a provider."""
        wanted = call.body
        team = await self._access.organization(call.principal, wanted.org_id)
        subject = Subject("organization", team.id)
        await self._quotas.set(subject, wanted.provider, wanted.total_tokens)
        return await self._shown(OrganizationQuota, team, subject, wanted.provider)

    async def _shown(
        self, kind: type[QuotaT], named: User | Organization, subject: Subject, provider: str
    ) -> QuotaT:
        balance = await self._balance(subject, provider)
        of_whom: dict[str, Any] = {f"{subject.kind}_id": subject.id}
        updated = await self._updated(balance, Filter(upstream=provider, outcome="finished", **of_whom))
        total, left, reset = balance.allotment.limit, balance.remaining, _reset(balance)
        return kind(named.uuid, provider, total, left, updated, reset)

    async def _balance(self, subject: Subject, provider: str) -> Balance:
        balance = await self._quotas.find(subject, provider)
        if balance is None:
            raise NotFound(f"There is no quota for {provider}.")
        return balance

    async def _updated(self, balance: Balance, spending: Filter) -> str:
        """When the terms last changed or something was last spent, whichever is later."""
        last = await self._reports.records(spending, limit=1)
        return rfc3339(max([balance.updated_at, *(record.at for record in last)]))


def allotment(provider: str, limit: int = 0) -> Allotment:
    """Tokens for a provider, without a window: what this surface gives, sells and takes back."""
    return Allotment(Unit.TOKENS, limit, Window.NONE, upstream=provider)


def _reset(balance: Balance) -> str | UnsetType:
    return UNSET if balance.allotment.window == Window.NONE else rfc3339(balance.window_end)
