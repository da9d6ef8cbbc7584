"""Products in the store, which teams have them, and Stripe's pricing tables."""

import pytest

from llmgate.plugin.api import BadRequest, NotFound
from llmgate_private_ai.products import Product, Products
from plugins.private_ai.gate import Running

SMALL = Product(id="prod_1", name="Small", user_count=2)


async def test_a_product_is_made_once_changed_and_deleted(running: Running) -> None:
    products = Products(running.gate.services.store)
    made = await products.create(SMALL)
    assert (made.name, made.user_count, made.updated_at) == ("Small", 2, None)
    with pytest.raises(BadRequest, match="prod_1 already exists"):
        await products.create(SMALL)
    changed = await products.update("prod_1", {"user_count": 3})
    assert (changed.user_count, changed.name, changed.updated_at is None) == (3, "Small", False)
    assert await products.by_id("prod_1") == changed
    await products.delete("prod_1")
    with pytest.raises(NotFound):
        await products.by_id("prod_1")
    with pytest.raises(NotFound):
        await products.update("prod_1", {"user_count": 1})
    with pytest.raises(NotFound):
        await products.delete("prod_1")


async def test_a_team_has_a_product_once_and_nobody_deletes_what_a_team_has(running: Running) -> None:
    store = running.gate.services.store
    products, team = Products(store), await running.team("Bees")
    await products.create(SMALL)
    async with store.change() as db:
        assert not await products.link(team, "prod_none", db)
        assert await products.link(team, "prod_1", db)
        assert not await products.link(team, "prod_1", db)
        assert await products.of_team(team, db) == (SMALL,)
    assert [each.id for each in await products.all(team)] == ["prod_1"]
    with pytest.raises(BadRequest, match="associated with one or more teams"):
        await products.delete("prod_1")
    async with store.change() as db:
        assert await products.unlink(team, "prod_1", db)
        assert not await products.unlink(team, "prod_1", db)
    assert await products.all(team) == []
    assert [each.id for each in await products.all()] == ["prod_1"]


async def test_a_pricing_table_takes_the_place_of_the_one_of_its_kind(running: Running) -> None:
    products = Products(running.gate.services.store)
    with pytest.raises(NotFound, match="Pricing table not found"):
        await products.pricing_table("standard")
    await products.set_pricing_table("standard", "prctbl_1")
    await products.set_pricing_table("always_free", "prctbl_2")
    await products.set_pricing_table("standard", "prctbl_3")
    assert (await products.pricing_table("standard")).pricing_table_id == "prctbl_3"
    kinds = [table.table_type for table in await products.pricing_tables()]
    assert kinds == ["always_free", "standard"]
    await products.delete_pricing_table("standard")
    with pytest.raises(NotFound):
        await products.delete_pricing_table("standard")
