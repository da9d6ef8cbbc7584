"""The operations under /products, /pricing-tables and /budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct, structs

from llmgate.plugin.api import BadRequest, Conflict

from .key_terms import POOL, POOL_LASTS
from .products import Product, ShownPricingTable, ShownProduct, TableType
from .roles import Action
from .shapes import Count, Id, Line, Message, Money, id_in, iso
from .tables import purchases

if TYPE_CHECKING:
    from llmgate.plugin.api import Call

    from .access import Caller
    from .parts import Parts

CENT = 10_000
"""Millionths."""


class OfTeam(Struct, frozen=True):
    """Query of `GET /products`."""

    team_id: Id | None = None


class ProductChange(Struct, frozen=True, kw_only=True):
    """Body of `PUT /products/{id}`: what is there is changed."""

    name: Line | None = None
    user_count: Count | None = None
    keys_per_user: Count | None = None
    total_key_count: Count | None = None
    service_key_count: Count | None = None
    max_budget_per_key: Money | None = None
    rpm_per_key: Count | None = None
    vector_db_count: Count | None = None
    vector_db_storage: Count | None = None
    renewal_period_days: Annotated[int, Meta(ge=1, le=3660)] | None = None
    active: bool | None = None


class NewPricingTable(Struct, frozen=True):
    """Body of `POST /pricing-tables`."""

    pricing_table_id: Line
    table_type: TableType = "standard"


class WhichTable(Struct, frozen=True):
    """Query of `DELETE /pricing-tables`."""

    table_type: TableType = "standard"


class Purchase(Struct, frozen=True):
    """Body of `POST /budgets/region/{region_id}/teams/{team_id}/purchase`."""

    amount_cents: Annotated[int, Meta(ge=1, le=10**12)]
    stripe_payment_id: Line
    currency: Annotated[str, Meta(min_length=3, max_length=3)] = "usd"
    purchased_at: str | None = None


class Purchased(Struct, frozen=True, kw_only=True):
    """What a team may spend in a region now."""

    team_id: int
    region_id: int
    amount_cents: int
    new_total_budget_cents: int
    expires_at: str


class ProductOperations:
    """See the module's text."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def create(self, call: Call[Product, None, Caller]) -> ShownProduct:
        """A new product."""
        return await self._parts.products.create(call.body)

    async def all(self, call: Call[None, OfTeam, Caller]) -> list[ShownProduct]:
        """Every product, or those that a team has."""
        team_id = call.query.team_id
        if team_id is not None:
            call.access.require(Action.READ_PRODUCTS, team_id=team_id)
        return await self._parts.products.all(team_id)

    async def get(self, call: Call[None, None, Caller]) -> ShownProduct:
        """One product."""
        return await self._parts.products.by_id(call.path["id"])

    async def change(self, call: Call[ProductChange, None, Caller]) -> ShownProduct:
        """Change a product: teams that have it get new terms with their next payment."""
        given = {name: value for name, value in structs.asdict(call.body).items() if value is not None}
        return await self._parts.products.update(call.path["id"], given)

    async def delete(self, call: Call[None, None, Caller]) -> Message:
        """Delete a product that no team has."""
        await self._parts.products.delete(call.path["id"])
        return Message("Product deleted successfully")

    async def set_table(self, call: Call[NewPricingTable, None, Caller]) -> ShownPricingTable:
        """Show another pricing table."""
        return await self._parts.products.set_pricing_table(call.body.table_type, call.body.pricing_table_id)

    async def table(self, call: Call[None, None, Caller]) -> ShownPricingTable:
        """The pricing table for the caller's team."""
        free = False
        if call.access.team_id is not None:
            free = (await self._parts.teams.by_id(call.access.team_id)).is_always_free
        return await self._parts.products.pricing_table("always_free" if free else "standard")

    async def tables(self, _: Call[None, None, Caller]) -> list[ShownPricingTable]:
        """Every pricing table."""
        return await self._parts.products.pricing_tables()

    async def delete_table(self, call: Call[None, WhichTable, Caller]) -> Message:
        """Show no pricing table of this type any more."""
        await self._parts.products.delete_pricing_table(call.query.table_type)
        return Message("Pricing table deleted successfully")

    async def purchase(self, call: Call[Purchase, None, Caller]) -> Purchased:
        """Add to what a team with a pooled budget may spend in a region; all of it lasts a year from now."""
        store, wanted = self._parts.gate.store, call.body
        team = await self._parts.teams.by_id(id_in(call.path["team_id"], "Team"))
        region = await self._parts.regions.by_id(id_in(call.path["region_id"], "Region"))
        if team.budget_type != POOL:
            raise BadRequest("The budget of this team is not pooled")
        now = store.clock()
        row = {
            "team_id": team.id,
            "region_id": region.id,
            "amount_cents": wanted.amount_cents,
            "currency": wanted.currency.lower(),
            "stripe_payment_id": wanted.stripe_payment_id,
            "purchased_at": now,
            "created_at": now,
        }
        async with store.change() as db:
            insert = store.insert(purchases).values(row).on_conflict_do_nothing()
            if not (await db.execute(insert)).rowcount:
                raise Conflict("This payment was counted before", status=409)
            balance = await self._parts.terms.grow_pool(db, team, region, wanted.amount_cents * CENT)
        return Purchased(
            team_id=team.id,
            region_id=region.id,
            amount_cents=wanted.amount_cents,
            new_total_budget_cents=balance.allotment.limit // CENT,
            expires_at=iso(now + POOL_LASTS),
        )
