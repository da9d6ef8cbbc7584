"""Buying tokens: starting a purchase, looking at it, and deciding about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from llmgate.plugin.api import ADMIN, Forbidden
from llmgate.plugin.kit.saga import idempotency_key
from llmgate.plugin.kit.shapes import filled, masked

from .saga import APPROVED, REJECTED, Purchase, Purchases, Status
from .words import Lot

if TYPE_CHECKING:
    from llmgate.plugin.api import Call, Identity
    from llmgate.plugin.kit.access import Access

    from .quotas import ProviderQuotas


class Order(Struct, frozen=True, rename="camel"):
    """Body of `POST /api/v1/tokens/purchase`; with `orgId` the tokens go to the organization's quota."""

    user_id: UUID
    provider: str
    tokens: Lot
    org_id: UUID | None = None


class Started(Struct, frozen=True, rename="camel"):
    """A purchase that was accepted; it goes on by itself."""

    saga_id: str
    status: Status
    created_at: str


class PurchaseState(Struct, frozen=True, rename="camel"):
    """Where a purchase stands; `clientSecret` while the payer's browser has to confirm its payment."""

    id: str
    user_id: str
    org_id: str | None
    provider: str
    tokens: int
    idempotency_key: str | None
    status: Status
    created_at: str
    updated_at: str
    client_secret: str | UnsetType = UNSET

    __repr__ = masked("client_secret")


class PurchaseOperations:
    """The operations under /api/v1/tokens/purchase. `wake` sets the saga going."""

    def __init__(
        self,
        purchases: Purchases,
        access: Access,
        identity: Identity,
        quotas: ProviderQuotas,
        *,
        wake: Callable[[], None],
    ) -> None:
        self._purchases = purchases
        self._access = access
        self._users = identity.users
        self._organizations = identity.organizations
        self._quotas = quotas
        self._wake = wake

    async def start(self, call: Call[Order]) -> Started:
        """Start a purchase; with an Idempotency-Key only once, however often it is asked for."""
        wanted = call.body
        key = idempotency_key(call)
        self._quotas.provider(wanted.provider)
        payer = await self._access.payer(call.principal, wanted.user_id, wanted.org_id)
        purchase = await self._purchases.start(payer, wanted.provider, wanted.tokens, key)
        self._wake()
        return filled(Started, purchase, saga_id=purchase.id)

    async def show(self, call: Call) -> PurchaseState:
        """Where a purchase of the caller stands."""
        purchase = await self._purchases.by_id(call.path["id"])
        if purchase.user_id != call.principal.user_id and ADMIN not in call.principal.roles:
            raise Forbidden("This purchase belongs to another user.")
        return await self._state(purchase)

    async def undecided(self, _: Call) -> list[PurchaseState]:
        """Purchases that wait for an administrator, oldest first."""
        return [await self._state(purchase) for purchase in await self._purchases.undecided()]

    async def approve(self, call: Call) -> PurchaseState:
        """Let a purchase go on."""
        return await self._decide(call, APPROVED)

    async def reject(self, call: Call) -> PurchaseState:
        """Let a purchase fail."""
        return await self._decide(call, REJECTED)

    async def _decide(self, call: Call, decision: str) -> PurchaseState:
        purchase = await self._purchases.decide(call.path["id"], decision)
        self._wake()
        return await self._state(purchase)

    async def _state(self, purchase: Purchase) -> PurchaseState:
        user = await self._users.by_id(purchase.user_id)
        organization = None
        if purchase.organization_id is not None:
            organization = (await self._organizations.by_id(purchase.organization_id)).uuid
        secret = purchase.client_secret or UNSET
        return filled(PurchaseState, purchase, user_id=user.uuid, org_id=organization, client_secret=secret)
