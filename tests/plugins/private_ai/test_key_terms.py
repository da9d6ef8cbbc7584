"""What a key may spend and ask, and until when: budgets, rates, periods, lives and pools."""

import asyncio

from llmgate_private_ai.plans import DAY
from plugins.private_ai.gate import ADMIN, COST, Running

ANN = "ann@example.com"


async def test_a_spent_budget_in_the_words_that_clients_look_for(running: Running, token: str) -> None:
    """One answer costs 0.010025 here; the budget starts over with its period."""
    extend = {"token": token, "duration": "90d", "max_budget": 0.03}
    await running.ask(ADMIN, "PUT", "/private-ai-keys/token/extend-token-life", extend)
    assert [(await running.chat(token)).status_code for _ in range(2)] == [200, 200]
    refused = await running.chat(token, max_tokens=1000)
    assert refused.status_code in (200, 402)
    while refused.status_code == 200:
        refused = await running.chat(token)
    assert refused.status_code == 402
    error = refused.json()["error"]
    assert error["message"].startswith("Budget has been exceeded! Current cost: 0.0")
    assert error["message"].endswith(", Max budget: 0.03")
    assert error["type"] == "budget_exceeded"
    assert refused.headers["x-should-retry"] == "false" and "retry-after" not in refused.headers
    running.clock.pass_by(30 * DAY)
    assert (await running.chat(token)).status_code == 200


async def test_a_budget_is_exact_under_load(running: Running, token: str) -> None:
    """Of many requests at once no more are let through than the money is for."""
    extend = {"token": token, "duration": "90d", "max_budget": 0.1}
    usage = await running.ask(ADMIN, "PUT", "/private-ai-keys/token/extend-token-life", extend)
    answers = await asyncio.gather(*(running.chat(token) for _ in range(30)))
    good = [answer for answer in answers if answer.status_code == 200]
    spent = (await running.ask(ANN, "GET", f"/private-ai-keys/{usage['key_id']}/usage"))["spend"]
    assert len(good) >= 9 and 9 * COST <= spent <= 0.1  # the last ones were given fewer tokens


async def test_a_key_asks_no_faster_than_it_may(running: Running, token: str) -> None:
    body = {"token": token, "duration": 30, "rpm": 2}
    await running.ask(ADMIN, "PUT", "/private-ai-keys/token/extend-token-life", body)
    answers = [await running.chat(token) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["error"]["type"] == "rate_limit_error" and answers[2].headers["retry-after"]
    await running.ask(ADMIN, "PUT", "/private-ai-keys/token/extend-token-life", body | {"rpm": 3})
    assert (await running.chat(token)).status_code == 200


async def test_another_period_and_another_life(running: Running, token: str) -> None:
    (key,) = await running.ask(ANN, "GET", "/private-ai-keys")
    path = f"/private-ai-keys/{key['id']}"
    await running.chat(token)
    period = await running.ask(ADMIN, "PUT", f"{path}/budget-period", {"budget_duration": "weekly"})
    assert (period["budget_duration"], period["spend"]) == ("7d", 0.0)
    assert period["budget_reset_at"] == "2027-01-22T08:00:00+00:00"
    await running.chat(token)
    raised = {"token": token, "duration": 30, "max_budget": 100.0, "rpm": 1000}
    usage = await running.ask(ADMIN, "PUT", "/private-ai-keys/token/extend-token-life", raised)
    assert (usage["spend"], usage["max_budget"], usage["budget_duration"]) == (COST, 100.0, "7d")
    ended = await running.ask(ADMIN, "PUT", f"{path}/extend-token-life", {"duration": "0d"})
    assert ended["key"] == token and ended["info"]["expires"] == "2027-01-15T08:00:00+00:00"
    assert (await running.chat(token)).status_code == 401
    await running.ask(ADMIN, "PUT", f"{path}/extend-token-life", {"duration": "1mo"})
    assert (await running.chat(token)).status_code == 200
    for body in ({"duration": "soon"}, {"duration": -1}, {}):
        await running.ask(ADMIN, "PUT", f"{path}/extend-token-life", body, status=422)
    await running.ask(ADMIN, "PUT", f"{path}/budget-period", {"budget_duration": "0d"}, status=422)


async def test_a_pool_is_shared_by_a_team_and_starts_with_nothing(running: Running) -> None:
    team = await running.team("Bees")
    await running.user(ANN, team_id=team, role="key_creator")
    old = (await running.token(ANN))["litellm_token"]
    await running.ask(ADMIN, "PUT", f"/teams/{team}", {"budget_type": "pool"})
    new = (await running.token(ANN, team_id=team))["litellm_token"]
    for token in (old, new):
        refused = await running.chat(token)
        assert refused.status_code == 402
        assert (
            refused.json()["error"]["message"] == "Budget has been exceeded! Current cost: 0, Max budget: 0"
        )
    path = f"/budgets/region/1/teams/{team}/purchase"
    body = {"amount_cents": 2, "currency": "usd", "stripe_payment_id": "pi_1"}
    bought = await running.ask(ADMIN, "POST", path, body, status=201)
    assert bought["new_total_budget_cents"] == 2
    assert await running.ask(ADMIN, "POST", path, body, status=409) == {
        "detail": "This payment was counted before"
    }
    assert [(await running.chat(token)).status_code for token in (old, new)] == [200, 200]
    assert (await running.chat(old)).status_code == 402
    more = {**body, "stripe_payment_id": "pi_2", "amount_cents": 100}
    assert (await running.ask(ADMIN, "POST", path, more, status=201))["new_total_budget_cents"] == 102
    assert (await running.chat(old)).status_code == 200
    await running.ask(ADMIN, "PUT", f"/teams/{team}", {"is_always_free": True})
    extend = {"token": old, "duration": "2y"}
    await running.ask(ADMIN, "PUT", "/private-ai-keys/token/extend-token-life", extend)
    running.clock.pass_by(365 * DAY)
    assert (await running.chat(old)).status_code == 402
    await running.sign_in(ADMIN, "admin")
    await running.ask(ADMIN, "PUT", f"/teams/{team}", {"budget_type": "periodic"})
    assert (await running.chat(old)).status_code == 200
    await running.ask(ADMIN, "POST", path, {**body, "stripe_payment_id": "pi_3"}, status=400)
