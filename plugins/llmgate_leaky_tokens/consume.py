"""Consuming tokens: the leaky bucket, then the quota, then the provider; what failed costs nothing.

What is sold here are tokens by number: a consumption of 50 takes 50 from the quota, whatever the model makes
of the prompt, and lets it answer with at most 50. The usage record keeps both: what the model reported as
used, and under `booked` what was charged. A consumption that was turned down for its rate or its quota is
recorded, too, with what it asked for and a charge of nothing: analytics count both kinds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from llmgate.plugin.api import (
    Certainty,
    Demand,
    Endpoint,
    Outcome,
    Prices,
    QuotaExhausted,
    Reply,
    Subject,
    Usage,
    UsageRecord,
)

from .words import InsufficientQuota, ProviderFailed, ProviderUnavailable, Tokens, moment

if TYPE_CHECKING:
    from llmgate.plugin.api import Bucket, Buckets, Call, Hold, Ledger, Level

    from .access import Access, Payer
    from .providers import Completer, Completion
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

    call: Call
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
        clock: Callable[[], float],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._access = access
        self._quotas = quotas
        self._ledger = ledger
        self._completers = completers
        self._buckets = buckets
        self._bucket = bucket
        self._prices = prices
        self._clock = clock
        self._timer = timer

    async def __call__(self, call: Call) -> Consumed | Reply:
        """Take the tokens and answer the prompt, or say why not."""
        wanted: Consumption = call.body
        self._quotas.provider(wanted.provider)
        payer = await self._access.payer(call.principal, wanted.user_id, wanted.org_id)
        order = Order(call, payer, wanted)
        call.exchange.upstream = wanted.provider
        if wanted.tokens > self._bucket.capacity and not await self._covered(order):
            await self._record(order, Outcome.REFUSED, 402)  # it would wait long to hear the same
            raise InsufficientQuota
        level = await self._buckets.pour(order.bucket, wanted.tokens, self._bucket)
        if not level.fits:
            call.exchange.refused = "rate_limit"
            await self._record(order, Outcome.REFUSED, 429)
            wait = max(1, math.ceil(level.wait))
            return Reply(self._standing(level, wait), 429, [(b"retry-after", b"%d" % wait)])
        try:
            completion = await self._complete(order)
        except BaseException:
            await self._buckets.give_back(order.bucket, wanted.tokens, self._bucket)
            raise
        said = ProviderResponse(completion.id or call.exchange.id, wanted.provider, completion.text)
        return self._standing(level, 0, said)

    async def _complete(self, order: Order) -> Completion:
        """The provider's answer, paid for. Whatever goes wrong, nothing is paid."""
        wanted, exchange = order.wanted, order.call.exchange
        try:
            hold = await self._hold(order)
        except InsufficientQuota:
            await self._record(order, Outcome.REFUSED, 402)
            raise
        try:
            completer = self._completers[wanted.provider]
            completion = await completer.complete(wanted.prompt, wanted.tokens, exchange.id)
            exchange.reading, exchange.model = completion.reading, completion.model
            await self._record(order, Outcome.FINISHED, 200, hold)
        except (ProviderFailed, ProviderUnavailable) as refusal:
            await self._record(order, Outcome.FAILED, refusal.answer_status)
            raise
        finally:
            hold.release()
        return completion

    async def _hold(self, order: Order) -> Hold:
        """Put the tokens aside. Raises `InsufficientQuota`."""
        wanted = order.wanted
        if not await self._covered(order):
            raise InsufficientQuota
        model = self._quotas.provider(wanted.provider).model
        demand = Demand(input=wanted.tokens)
        try:
            return await self._ledger.reserve(order.subjects, demand, upstream=wanted.provider, model=model)
        except QuotaExhausted as error:
            raise InsufficientQuota from error

    async def _covered(self, order: Order) -> bool:
        """Whether the payer's quota has so much left. Without one there is nothing, unlike elsewhere in the gate."""
        balance = await self._quotas.find(order.payer.subject, order.wanted.provider)
        return balance is not None and balance.remaining + balance.allotment.overdraft >= order.wanted.tokens

    async def _record(self, order: Order, outcome: Outcome, status: int, hold: Hold | None = None) -> None:
        """Write the usage record; with a `hold` the tokens are charged to it."""
        exchange, payer, wanted = order.call.exchange, order.payer, order.wanted
        reading = exchange.reading
        usage = reading.usage if reading is not None else Usage(0, 0)
        model = exchange.model or self._quotas.provider(wanted.provider).model
        record = UsageRecord(
            request_id=exchange.id,
            at=self._clock(),
            user_id=payer.user.id,
            key_id=order.call.principal.key_id,
            organization_id=payer.organization.id if payer.organization is not None else None,
            surface=SURFACE,
            route=exchange.route,
            upstream=wanted.provider,
            model=model,
            endpoint=Endpoint.CHAT,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            cost=self._prices.of(model).of(usage),
            certainty=reading.certainty if reading is not None else Certainty.EXACT,
            outcome=outcome,
            status=status,
            duration=self._timer() - exchange.started,
            first_byte=None,
            booked=wanted.tokens,
        )
        await self._ledger.settle(record, hold)

    def _standing(self, level: Level, wait: int, said: ProviderResponse | None = None) -> Consumed:
        capacity = self._bucket.capacity
        used = min(capacity, math.ceil(level.tokens))
        return Consumed(
            allowed=wait == 0,
            capacity=capacity,
            used=used,
            remaining=capacity - used,
            wait_seconds=wait,
            timestamp=moment(self._clock()),
            provider_response=said or ProviderResponse(),
        )
