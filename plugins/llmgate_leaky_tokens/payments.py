"""How purchases are paid for: the seam, and the two ways that need nobody else.

A payment is reserved before the tokens are given and captured after it; in between it can be cancelled. Each
verb may be called again for the same purchase, after a crash or by another process, and must then do nothing
twice: the purchase's id tells that it is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from llmgate.plugin.api import GateError

if TYPE_CHECKING:
    from .saga import Purchase


class PaymentPending(GateError):
    """Somebody has still to confirm. `ask_again` is in how many seconds to look; None: who decides says so.

    `payment` and `client_secret` are kept with the purchase.
    """

    def __init__(
        self, *, ask_again: float | None = None, payment: str | None = None, client_secret: str | None = None
    ) -> None:
        super().__init__("the payment is not confirmed yet")
        self.ask_again = ask_again
        self.payment = payment
        self.client_secret = client_secret


class PaymentDeclined(GateError):
    """It will not be paid; trying again is no use."""


class PaymentUnavailable(GateError):
    """Nobody knows: the payment service did not answer as it should. Try again later."""


class Payment(Protocol):
    """See the module's text. Every verb may raise `PaymentUnavailable`."""

    async def reserve(self, purchase: Purchase) -> str:
        """Put the money aside; returns what the payment is called. Raises `PaymentPending`, `PaymentDeclined`."""

    async def capture(self, purchase: Purchase) -> None:
        """Take the money that was put aside. Raises `PaymentDeclined`."""

    async def cancel(self, purchase: Purchase) -> None:
        """Let go of it, or give it back if it was taken."""


class Instant:
    """Nothing has to be paid: for trying, and where somebody else writes the bills."""

    async def reserve(self, purchase: Purchase) -> str:
        """See `Payment`."""
        return f"instant-{purchase.id}"

    async def capture(self, purchase: Purchase) -> None:
        """See `Payment`."""

    async def cancel(self, purchase: Purchase) -> None:
        """See `Payment`."""


class Manual(Instant):
    """An administrator approves each purchase. (Rejected ones are not asked about, however they are paid.)"""

    async def reserve(self, purchase: Purchase) -> str:
        """See `Payment`."""
        if purchase.decision is None:
            raise PaymentPending
        return f"manual-{purchase.id}"
