"""The steps of a purchase, and who takes them: at once, again after a failure, and after a crash."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from llmgate.plugin.api import BadRequest
from llmgate.plugin.kit import saga

from .payments import Payment, PaymentDeclined, PaymentPending
from .saga import REJECTED, Purchase, Status

if TYPE_CHECKING:
    from llmgate.plugin.kit.saga import Effect

    from .quotas import ProviderQuotas
    from .saga import Purchases


class Steps(saga.Steps[Purchase]):
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
        super().__init__(purchases, clock=clock, what="purchase")
        self._payment = payment
        self._quotas = quotas
        self._timeout = timeout

    def step(self, saga: Purchase) -> Callable[[Purchase], Awaitable[Purchase]]:
        """See the drawing in `saga`."""
        match saga.status:
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
            return await self.wait(
                purchase, look_at, payment=pending.payment, client_secret=pending.client_secret, attempts=0
            )
        return await self.to(purchase, Status.PAYMENT_RESERVED, payment=payment, client_secret=None)

    async def _allocate(self, purchase: Purchase) -> Purchase:
        grow = partial(
            self._quotas.grow, subject=purchase.subject, provider=purchase.provider, by=purchase.tokens
        )
        try:
            return await self.to(purchase, Status.TOKENS_ALLOCATED, effect=grow)
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
        return await self.end(purchase, Status.COMPLETED)

    async def _compensate(self, purchase: Purchase) -> Purchase:
        await self._payment.cancel(purchase)
        return await self.end(purchase, purchase.status)

    async def _fail(self, purchase: Purchase, why: str, effect: Effect | None = None) -> Purchase:
        return await self.to(purchase, Status.FAILED, effect, failure=why, client_secret=None)
