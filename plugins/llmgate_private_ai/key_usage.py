"""What keys have spent and asked, from the ledger."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from llmgate.plugin.api import Filter, Subject, Unit

from .shapes import iso, iso_or_none, money_of

if TYPE_CHECKING:
    from llmgate.plugin.api import Balance, Identity, Key, Quotas, Reports

    from .keys import PrivateKey

DAYS = 366
"""Days of the daily list, at most."""


class ShownSpend(Struct, frozen=True, kw_only=True):
    """What a key has spent in its period. Money in the operator's currency."""

    spend: float | None
    expires: str | None
    created_at: str
    updated_at: str
    max_budget: float | None
    budget_duration: str | None
    budget_reset_at: str | None


class ShownDay(Struct, frozen=True, kw_only=True):
    """One day, in UTC."""

    date: str
    spend: float
    requests: int
    prompt_tokens: int
    completion_tokens: int


class ShownUsage(Struct, frozen=True, kw_only=True):
    """What a key has spent in its period, and asked in all."""

    key_id: int
    spend: float
    max_budget: float | None
    remaining: float | None
    budget_duration: str | None
    budget_reset_at: str | None
    expires: str | None
    rpm_limit: int | None
    requests: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    last_used_at: str | None
    daily: list[ShownDay]


class ShownDetails(ShownSpend, frozen=True, kw_only=True):
    """A key with its terms; what it has not is null."""

    id: int
    name: str
    key_alias: str
    region: str
    region_id: int
    region_label: str | None
    owner_id: int | None
    team_id: int | None
    litellm_token: str | None
    litellm_api_url: str | None
    database_name: str | None
    database_host: str | None
    database_port: int | None
    database_username: str | None
    database_password: str | None
    models: list[str]
    rpm_limit: int | None
    tpm_limit: int | None
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Spent:
    spend: int
    balance: Balance | None
    key: Key | None

    @property
    def reset_at(self) -> str | None:
        end = None if self.balance is None else self.balance.window_end
        return None if end is None or end == float("inf") else iso(end)


class KeyUsage:
    """Reads the ledger for keys."""

    def __init__(self, identity: Identity, quotas: Quotas, reports: Reports) -> None:
        self._identity = identity
        self._quotas = quotas
        self._reports = reports

    async def spend(self, key: PrivateKey) -> ShownSpend:
        """What it has spent in this period."""
        return ShownSpend(**self._terms(key, await self._spent(key)))

    async def details(self, key: PrivateKey, model_url: str) -> ShownDetails:
        """The key, its terms, and what it has spent."""
        terms = self._terms(key, await self._spent(key))
        has_database = key.database_name is not None
        return ShownDetails(
            **terms,
            id=key.id,
            name=key.name,
            key_alias=key.name,
            region=key.region_name,
            region_id=key.region_id,
            region_label=key.region_label,
            owner_id=key.owner_id,
            team_id=key.team_id,
            litellm_token=key.token,
            litellm_api_url=model_url if key.token is not None else None,
            database_name=key.database_name,
            database_host=key.database_host if has_database else None,
            database_port=key.database_port if has_database else None,
            database_username=key.database_username,
            database_password=key.database_password,
            models=[],
            rpm_limit=key.rpm_limit,
            tpm_limit=None,
            metadata={},
        )

    async def usage(self, key: PrivateKey) -> ShownUsage:
        """What it has spent in this period, asked in all, and day by day, the latest first."""
        spent = await self._spent(key)
        daily: list[ShownDay] = []
        tokens_in = tokens_out = requests = 0
        if spent.key is not None:
            which = Filter(user_id=spent.key.user_id, key_id=spent.key.id)
            for midnight, day in await self._reports.grouped("day", which, limit=DAYS):
                daily.append(_day(midnight, day))
            totals = await self._reports.totals(which)
            tokens_in, tokens_out, requests = totals.input_tokens, totals.output_tokens, totals.requests
        remaining = None if spent.balance is None else spent.balance.remaining
        return ShownUsage(
            key_id=key.id,
            spend=spent.spend / 1e6,
            max_budget=money_of(key.max_budget),
            remaining=money_of(remaining),
            budget_duration=key.budget_duration,
            budget_reset_at=spent.reset_at,
            expires=iso_or_none(key.expires_at),
            rpm_limit=key.rpm_limit,
            requests=requests,
            prompt_tokens=tokens_in,
            completion_tokens=tokens_out,
            total_tokens=tokens_in + tokens_out,
            last_used_at=iso_or_none(None if spent.key is None else spent.key.last_used_at),
            daily=daily,
        )

    async def _spent(self, key: PrivateKey) -> _Spent:
        """In the running period of its budget; without one, ever."""
        if key.api_key_id is None:
            return _Spent(0, None, None)
        api_key = await self._identity.keys.by_id(key.api_key_id)
        for balance in await self._quotas.of(Subject("key", key.api_key_id)):
            if balance.allotment.unit is Unit.MONEY and not balance.allotment.upstream:
                return _Spent(balance.used, balance, api_key)
        totals = await self._reports.totals(Filter(user_id=api_key.user_id, key_id=api_key.id))
        return _Spent(totals.cost, None, api_key)

    def _terms(self, key: PrivateKey, spent: _Spent) -> dict[str, Any]:
        return {
            "spend": spent.spend / 1e6,
            "expires": iso_or_none(key.expires_at),
            "created_at": iso(key.created_at),
            "updated_at": iso(key.updated_at),
            "max_budget": money_of(key.max_budget),
            "budget_duration": key.budget_duration,
            "budget_reset_at": spent.reset_at,
        }


def _day(midnight: float, totals: Any) -> ShownDay:
    return ShownDay(
        date=dt.datetime.fromtimestamp(midnight, dt.UTC).date().isoformat(),
        spend=totals.cost / 1e6,
        requests=totals.requests,
        prompt_tokens=totals.input_tokens,
        completion_tokens=totals.output_tokens,
    )
