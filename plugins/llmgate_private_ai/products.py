"""Products (what a subscription buys), which teams have them, and Stripe's pricing tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import sqlalchemy as sa
from msgspec import Meta, Struct, structs

from llmgate.plugin.api import BadRequest, NotFound
from llmgate.plugin.kit.shapes import filled

from .shapes import Count, Line, Money, iso
from .tables import pricing_tables, products, team_products

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import Store

TableType = Literal["standard", "always_free"]
ProductId = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_.-]+$")]


class Product(Struct, frozen=True, kw_only=True):
    """What a team that has it may have. `vector_db_storage` is in GiB, and nobody measures it."""

    id: ProductId
    name: Line
    user_count: Count = 1
    keys_per_user: Count = 1
    total_key_count: Count = 6
    service_key_count: Count = 5
    max_budget_per_key: Money = 20.0
    rpm_per_key: Count = 500
    vector_db_count: Count = 1
    vector_db_storage: Count = 50
    renewal_period_days: Annotated[int, Meta(ge=1, le=3660)] = 30
    active: bool = True


class ShownProduct(Product, frozen=True, kw_only=True):
    """A product as the API shows it."""

    created_at: str
    updated_at: str | None


class ShownPricingTable(Struct, frozen=True):
    """The pricing table of Stripe that a team sees."""

    pricing_table_id: str
    updated_at: str
    table_type: str


_FIELDS = Product.__struct_fields__


class Products:
    """The products in `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, product: Product) -> ShownProduct:
        """A new product. Raises `BadRequest` for an id that is taken."""
        row = {**structs.asdict(product), "created_at": self._store.clock()}
        insert = self._store.insert(products).values(row).on_conflict_do_nothing()
        async with self._store.begin() as db:
            made = (await db.execute(insert.returning(products))).first()
        if made is None:
            raise BadRequest(f"Product with ID {product.id} already exists")
        return filled(ShownProduct, made, time=iso)

    async def all(self, team_id: int | None = None) -> list[ShownProduct]:
        """Every product, or those of a team, oldest first."""
        query = sa.select(products).order_by(products.c.created_at, products.c.id)
        if team_id is not None:
            query = query.join(team_products).where(team_products.c.team_id == team_id)
        async with self._store.connect() as db:
            return [filled(ShownProduct, row, time=iso) for row in await db.execute(query)]

    async def by_id(self, product_id: str) -> ShownProduct:
        """The product with this id. Raises `NotFound`."""
        async with self._store.connect() as db:
            query = sa.select(products).where(products.c.id == product_id)
            row = (await db.execute(query)).first()
        if row is None:
            raise _no_product()
        return filled(ShownProduct, row, time=iso)

    async def update(self, product_id: str, values: dict[str, Any]) -> ShownProduct:
        """Change what `values` has. Raises `NotFound`."""
        values = {**values, "updated_at": self._store.clock()}
        update = products.update().where(products.c.id == product_id).values(values).returning(products)
        async with self._store.begin() as db:
            row = (await db.execute(update)).first()
        if row is None:
            raise _no_product()
        return filled(ShownProduct, row, time=iso)

    async def delete(self, product_id: str) -> None:
        """Raises `NotFound`, and `BadRequest` while a team has it."""
        used = sa.select(team_products.c.team_id).where(team_products.c.product_id == product_id)
        async with self._store.begin() as db:
            if await db.scalar(used.limit(1)) is not None:
                raise BadRequest("Cannot delete product that is associated with one or more teams")
            if not (await db.execute(products.delete().where(products.c.id == product_id))).rowcount:
                raise _no_product()

    async def of_team(self, team_id: int, db: AsyncConnection) -> tuple[Product, ...]:
        """What a team has, within a transaction."""
        query = sa.select(products).join(team_products).where(team_products.c.team_id == team_id)
        rows = (await db.execute(query)).mappings()
        return tuple(Product(**{name: row[name] for name in _FIELDS}) for row in rows)

    async def link(self, team_id: int, product_id: str, db: AsyncConnection) -> bool:
        """Give a team a product, within a transaction; False if it has it or there is no such product."""
        if await db.scalar(sa.select(products.c.id).where(products.c.id == product_id)) is None:
            return False
        row = {"team_id": team_id, "product_id": product_id, "created_at": self._store.clock()}
        insert = self._store.insert(team_products).values(row).on_conflict_do_nothing()
        return bool((await db.execute(insert)).rowcount)

    async def unlink(self, team_id: int, product_id: str, db: AsyncConnection) -> bool:
        """Take a product from a team, within a transaction; False if it has it not."""
        gone = team_products.delete().where(
            team_products.c.team_id == team_id, team_products.c.product_id == product_id
        )
        return bool((await db.execute(gone)).rowcount)

    async def set_pricing_table(self, table_type: TableType, pricing_table_id: str) -> ShownPricingTable:
        """Show this one from now on to teams that pay (standard) or need not."""
        row = {
            "table_type": table_type,
            "pricing_table_id": pricing_table_id,
            "updated_at": self._store.clock(),
        }
        insert = self._store.insert(pricing_tables).values(row)
        async with self._store.begin() as db:
            await db.execute(insert.on_conflict_do_update(index_elements=["table_type"], set_=row))
        return await self.pricing_table(table_type)

    async def pricing_table(self, table_type: TableType) -> ShownPricingTable:
        """Raises `NotFound`."""
        for table in await self.pricing_tables():
            if table.table_type == table_type:
                return table
        raise NotFound("Pricing table not found")

    async def pricing_tables(self) -> list[ShownPricingTable]:
        """All that there are."""
        async with self._store.connect() as db:
            rows = await db.execute(sa.select(pricing_tables).order_by(pricing_tables.c.table_type))
            return [
                ShownPricingTable(row.pricing_table_id, iso(row.updated_at), row.table_type) for row in rows
            ]

    async def delete_pricing_table(self, table_type: TableType) -> None:
        """Raises `NotFound`."""
        gone = pricing_tables.delete().where(pricing_tables.c.table_type == table_type)
        async with self._store.begin() as db:
            if not (await db.execute(gone)).rowcount:
                raise NotFound("Pricing table not found")


def _no_product() -> NotFound:
    return NotFound("Product not found")
