"""Consuming tokens: the leaky bucket, then the quota, then the provider; what failed costs nothing.

What is sold here are tokens by number: a consumption of 50 takes 50 from the quota, whatever the model makes
of the prompt, and lets it answer with at most 50. The usage record keeps both: what the model reported as
used, and under `booked` what was charged. A client that leaves has ordered all the same; where the provider
fails, nothing is charged. A consumption that was turned down for its rate or its quota is
recorded, too, with what it asked for and a charge of nothing: analytics count both kinds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from llmgate.plugin.api import (
    BadRequest,
    ClientGone,
    Demand,
    Endpoint,
    Prices,
    QuotaExhausted,
    QuotaHeld,
    Reply,
    Subject,
)
from llmgate.plugin.kit.formats import rfc3339

from .words import InsufficientQuota, Tokens

if TYPE_CHECKING:
    from llmgate.plugin.api import Bucket, Buckets, Call, Charge, Ledger, Level, Principal
    from llmgate.plugin.kit.access import Access, Payer

    from .providers import Answer, Completer
    from .quotas import ProviderQuotas

SURFACE = "leaky_tokens"
"""Under which the ledger has the records of this surface."""


class Consumption(Struct, frozen=True, rename="camel"):
    """Body of `POST /api/v1/tokens/consume`; with `orgId` the organization's quota is spent."""

    user_id: UUID
    provider: str
    tokens: Tokens
    prompt: str
    org_id: UUID | None = None

    def __repr__(self) -> str:
        return f"Consumption({self.provider!r}, {self.tokens})"


class ProviderResponse(Struct, frozen=True):
    """What the provider said; empty where it was not asked."""

    id: str | UnsetType = UNSET
    provider: str | UnsetType = UNSET
    message: str | UnsetType = UNSET


class Consumed(Struct, frozen=True, rename="camel"):
    """Whether it was allowed, and how the bucket stands. `waitSeconds`: until the same would be allowed."""

    allowed: bool
    capacity: int
    used: int
    remaining: int
    wait_seconds: int
    timestamp: str
    provider_response: ProviderResponse


@dataclass(frozen=True, slots=True)
class Order:
    """A consumption that may be asked for: who pays for it, and with whom."""

    call: Call[Consumption]
    payer: Payer
    wanted: Consumption

    @property
    def bucket(self) -> str:
        """The name of the bucket: one for each user and provider."""
        return f"{SURFACE}:{self.payer.user.id}:{self.wanted.provider}"

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Whose quotas are held: the payer's, and those that an operator may have given the key."""
        key_id = self.call.principal.key_id
        return (self.payer.subject, *([] if key_id is None else [Subject("key", key_id)]))

    @property
    def recorded(self) -> Principal:
        """Whom the usage record names: the payer, whoever has sent the request."""
        organization = self.payer.organization
        return replace(
            self.call.principal,
            user_id=self.payer.user.id,
            organization_id=None if organization is None else organization.id,
        )


class Consume:
    """The operation `POST /api/v1/tokens/consume`."""

    def __init__(
        self,
        access: Access,
        quotas: ProviderQuotas,
        ledger: Ledger,
        completers: Mapping[str, Completer],
        *,
        buckets: Buckets,
        bucket: Bucket,
        prices: Prices,
        max_prompt: int,
        clock: Callable[[], float],
    ) -> None:
        self._access = access
        self._quotas = quotas
        self._ledger = ledger
        self._completers = completers
        self._buckets = buckets
        self._bucket = bucket
        self._prices = prices
        self._max_prompt = max_prompt
        self._clock = clock

    async def __call__(self, call: Call[Consumption]) -> Consumed | Reply:
        """Take the tokens and answer the prompt, or say why not."""
        wanted = call.body
        self._quotas.provider(wanted.provider)
        if len(wanted.prompt.encode()) > self._max_prompt:
            raise BadRequest(f"prompt: expected at most {self._max_prompt} bytes", param="prompt")
        payer = await self._access.payer(call.principal, wanted.user_id, wanted.org_id)
        order = Order(call, payer, wanted)
        call.exchange.upstream = wanted.provider
        charge = self._charge(order)
        if wanted.tokens > self._bucket.capacity and not await self._covered(order):
            await charge.refuse(402)  # it would wait long to hear the same
            raise InsufficientQuota
        level = await self._buckets.pour(order.bucket, wanted.tokens, self._bucket)
        if not level.fits:
            call.exchange.refused = "rate_limit"
            await charge.refuse(429)
            wait = max(1, math.ceil(level.wait))
            return Reply(self._standing(level, wait), 429, [(b"retry-after", b"%d" % wait)])
        try:
            answer = await self._complete(order, charge)
        except ClientGone:
            raise  # it has ordered, and the provider was asked
        except BaseException:
            await self._buckets.give_back(order.bucket, wanted.tokens, self._bucket)
            raise
        said = ProviderResponse(answer.id or call.exchange.id, wanted.provider, answer.text)
        return self._standing(level, 0, said)

    async def _complete(self, order: Order, charge: Charge) -> Answer:
        """The provider's answer, paid for. Where the provider fails, nothing is paid."""
        try:
            if not await self._covered(order):
                raise InsufficientQuota
            async with charge:
                answer = await self._completers[order.wanted.provider].complete(
                    order.call, order.wanted.prompt, order.wanted.tokens
                )
                await charge.settle(status=200)
        except QuotaHeld:
            await charge.refuse(429)
            raise
        except QuotaExhausted as error:
            await charge.refuse(402)
            raise InsufficientQuota from error
        return answer

    def _charge(self, order: Order) -> Charge:
        """As many tokens as were ordered, whatever the model makes of them."""
        wanted = order.wanted
        return self._ledger.charge(
            order.call.exchange,
            order.subjects,
            Demand(input=wanted.tokens),
            upstream=wanted.provider,
            model=self._quotas.provider(wanted.provider).model,
            endpoint=Endpoint.CHAT,
            prices=self._prices,
            booked=wanted.tokens,
            payer=order.recorded,
        )

    async def _covered(self, order: Order) -> bool:
        """Whether the payer's quota has so much left. Without one there is nothing, unlike elsewhere in the gate."""
        balance = await self._quotas.find(order.payer.subject, order.wanted.provider)
        return balance is not None and balance.remaining + balance.allotment.overdraft >= order.wanted.tokens

    def _standing(self, level: Level, wait: int, said: ProviderResponse | None = None) -> Consumed:
        capacity = self._bucket.capacity
        used = min(capacity, math.ceil(level.tokens))
        return Consumed(
            allowed=wait == 0,
            capacity=capacity,
            used=used,
            remaining=capacity - used,
            wait_seconds=wait,
            timestamp=rfc3339(self._clock()),
            provider_response=said or ProviderResponse(),
        )
