"""The steps of a purchase, and who takes them: at once, again after a failure, and after a crash."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from llmgate.plugin.api import BadRequest, GateError, StoreError
from llmgate.plugin.kit.periodic import backoff

from .payments import Payment, PaymentDeclined, PaymentPending
from .saga import REJECTED, Effect, Overtaken, Purchase, Purchases, Status

if TYPE_CHECKING:
    from .quotas import ProviderQuotas

log = logging.getLogger("llmgate.leaky_tokens")

MAX_WAIT_S = 60.0
"""Between two tries of a step that fails."""


class Steps:
    """Takes purchases from step to step. A payment that is not confirmed after `timeout` seconds fails."""

    def __init__(
        self,
        purchases: Purchases,
        payment: Payment,
        quotas: ProviderQuotas,
        *,
        timeout: float,
        clock: Callable[[], float],
    ) -> None:
        self._purchases = purchases
        self._payment = payment
        self._quotas = quotas
        self._timeout = timeout
        self._clock = clock

    async def run(self) -> None:
        """Bring every purchase that is due as far as it gets."""
        while due := await self._purchases.due():
            for purchase in due:
                await self.advance(purchase)

    async def advance(self, purchase: Purchase) -> Purchase | None:
        """Take the next step; returns the purchase after it, or None where somebody else has taken it."""
        try:
            return await self._try(purchase)
        except Overtaken:
            return None

    async def _try(self, purchase: Purchase) -> Purchase:
        step = self._step(purchase.status)
        try:
            return await step(purchase)
        except (Overtaken, StoreError):
            raise
        except Exception as error:  # whatever it is: one purchase must not hold up the others
            log.warning("purchase %s: %r", purchase.id, error, exc_info=not isinstance(error, GateError))
        wait = backoff(purchase.attempts, longest=MAX_WAIT_S)
        return await self._wait(purchase, self._clock() + wait, attempts=purchase.attempts + 1)

    def _step(self, status: Status) -> Callable[[Purchase], Awaitable[Purchase]]:
        match status:
            case Status.STARTED:
                return self._reserve
            case Status.PAYMENT_RESERVED:
                return self._allocate
            case Status.TOKENS_ALLOCATED:
                return self._capture
            case Status.FAILED | Status.COMPLETED:
                return self._compensate

    async def _reserve(self, purchase: Purchase) -> Purchase:
        gives_up_at = purchase.created_at + self._timeout
        if purchase.decision == REJECTED:
            return await self._fail(purchase, "rejected by an administrator")
        try:
            payment = await self._payment.reserve(purchase)
        except PaymentDeclined as error:
            return await self._fail(purchase, str(error))
        except PaymentPending as pending:
            now = self._clock()
            if now >= gives_up_at:
                return await self._fail(purchase, "the payment was not confirmed in time")
            look_at = gives_up_at if pending.ask_again is None else min(gives_up_at, now + pending.ask_again)
            return await self._wait(
                purchase, look_at, payment=pending.payment, client_secret=pending.client_secret, attempts=0
            )
        return await self._to(Status.PAYMENT_RESERVED, purchase, payment=payment, client_secret=None)

    async def _allocate(self, purchase: Purchase) -> Purchase:
        grow = partial(
            self._quotas.grow, subject=purchase.subject, provider=purchase.provider, by=purchase.tokens
        )
        try:
            return await self._to(Status.TOKENS_ALLOCATED, purchase, effect=grow)
        except BadRequest as error:  # no quota grows over the largest limit
            return await self._fail(purchase, error.message)

    async def _capture(self, purchase: Purchase) -> Purchase:
        try:
            await self._payment.capture(purchase)
        except PaymentDeclined as error:
            take_back = partial(
                self._quotas.grow, subject=purchase.subject, provider=purchase.provider, by=-purchase.tokens
            )
            return await self._fail(purchase, str(error), effect=take_back)
        return await self._purchases.take_step(purchase, Status.COMPLETED, due_at=None)

    async def _compensate(self, purchase: Purchase) -> Purchase:
        await self._payment.cancel(purchase)
        return await self._purchases.take_step(purchase, purchase.status, due_at=None)

    async def _to(
        self, status: Status, purchase: Purchase, effect: Effect | None = None, **values: object
    ) -> Purchase:
        """Go on to `status`, from where the next step may be taken at once."""
        changes = {"attempts": 0, **values}
        return await self._purchases.take_step(
            purchase, status, due_at=self._clock(), effect=effect, changes=changes
        )

    async def _fail(self, purchase: Purchase, why: str, effect: Effect | None = None) -> Purchase:
        return await self._to(Status.FAILED, purchase, effect, failure=why, client_secret=None)

    async def _wait(self, purchase: Purchase, until: float, **values: object) -> Purchase:
        """Try this step again, not before `until`."""
        return await self._purchases.take_step(purchase, purchase.status, due_at=until, changes=values)
