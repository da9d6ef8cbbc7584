"""The operations under /products, /pricing-tables and /budgets."""

from llmgate_private_ai.products import Products
from plugins.private_ai.gate import ADMIN, Running

ANN, BOB = "ann@example.com", "bob@example.com"


async def test_products_say_what_a_team_may_have(running: Running) -> None:
    product = {"id": "prod_1", "name": "Small", "user_count": 2, "keys_per_user": 1}
    made = await running.ask(ADMIN, "POST", "/products", product, status=201)
    assert (made["max_budget_per_key"], made["rpm_per_key"], made["active"]) == (20.0, 500, True)
    assert await running.ask(ADMIN, "POST", "/products", product, status=400) == {
        "detail": "Product with ID prod_1 already exists"
    }
    team = await running.team("Bees")
    await link(running, team, "prod_1")
    await running.user(ANN, team_id=team, role="admin")
    await running.user(BOB, team_id=team, role="key_creator")
    body = {"email": "c@c.de", "password": "long enough", "team_id": team}
    full = await running.ask(ADMIN, "POST", "/users", body, status=402)
    assert full == {"detail": "Team has reached the maximum user limit of 2 users"}
    assert await running.ask(ADMIN, "GET", "/users/search?email=c@c.de") == []
    await running.token(BOB)
    full = await running.ask(BOB, "POST", "/private-ai-keys/token", {"name": "k", "region_id": 1}, status=402)
    assert full == {"detail": "User has reached the maximum LLM token limit of 1 tokens"}
    assert [each["id"] for each in await running.ask(ANN, "GET", f"/products?team_id={team}")] == ["prod_1"]
    used = await running.ask(ADMIN, "DELETE", "/products/prod_1", status=400)
    assert used == {"detail": "Cannot delete product that is associated with one or more teams"}


async def link(running: Running, team_id: int, product_id: str) -> None:
    """What an event of billing does."""
    store = running.gate.services.store
    async with store.change() as db:
        assert await Products(store).link(team_id, product_id, db)
