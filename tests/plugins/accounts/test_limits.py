"""Step 4 of the guide: what was used, what is left, and the limit."""

from typing import Any

import httpx
import pytest

from llmgate.ledger import Allotment, Subject, Unit
from plugins.accounts import JOHN, PROMPT, at, http, log_in, running, upstream, used
from plugins.conftest import Model, OpenGate, Running

__all__ = ["http", "running", "upstream"]


async def test_usage_is_what_the_model_reported(http: httpx.AsyncClient) -> None:
    """Step 4 of the guide."""
    bearer = await log_in(http)
    assert await used(http, bearer) == {"tokens_used": 0, "token_limit": 10_000, "remaining": 10_000}
    await http.post("/chat/completions", json=PROMPT, headers=bearer)
    assert await used(http, bearer) == {"tokens_used": 20, "token_limit": 10_000, "remaining": 9_980}
    me = (await http.get("/users/me", headers=bearer)).json()
    assert me == {"id": 1, "username": "john_doe", "token_limit": 10_000, "tokens_used": 20}


async def test_a_limit_used_up_is_429(http: httpx.AsyncClient, model: Model) -> None:
    """Not to be retried: it is no rate limit. Nothing passes the limit."""
    bearer = await log_in(http, {**JOHN, "token_limit": 120})
    model.answer = b'{"usage":{"prompt_tokens":20,"completion_tokens":100,"total_tokens":120}}'
    first = await http.post("/chat/completions", json={"prompt": "Hi", "max_tokens": 1000}, headers=bearer)
    assert first.status_code == 200
    assert model.asked["max_tokens"] < 120
    second = await http.post("/chat/completions", json=PROMPT, headers=bearer)
    assert second.status_code == 429
    assert "used up" in second.json()["detail"]
    assert "retry-after" not in second.headers
    assert second.headers["x-should-retry"] == "false"
    assert len(model.requests) == 1
    assert await used(http, bearer) == {"tokens_used": 120, "token_limit": 120, "remaining": 0}


async def test_the_guides_429_holds_on_a_route_that_says_402(open_config: OpenGate, upstream: str) -> None:
    """Other clients of the same route get the status that the route names."""

    def change(document: dict[str, Any]) -> None:
        at(upstream)(document)
        document["routes"][0]["quota_status"] = 402

    async with open_config("accounts.toml", change) as running:
        bearer = await log_in(running.http, {**JOHN, "token_limit": 0})
        assert (await running.http.post("/chat/completions", json=PROMPT, headers=bearer)).status_code == 429
        assert (await running.http.post("/v1/completions", json=PROMPT, headers=bearer)).status_code == 402


async def test_users_lower_their_own_limit_and_admins_raise_it(running: Running) -> None:
    """What was used stays used; what is held back stays held back until an administrator says otherwise."""
    http = running.http
    bearer = await log_in(http)
    await http.post("/chat/completions", json=PROMPT, headers=bearer)

    async def limit(to: int) -> httpx.Response:
        return await http.put("/users/me/token-limit", json={"token_limit": to}, headers=bearer)

    lowered = await limit(15)
    assert (lowered.status_code, lowered.json()) == (
        200,
        {"id": 1, "username": "john_doe", "token_limit": 15, "tokens_used": 20},
    )
    assert await used(http, bearer) == {"tokens_used": 20, "token_limit": 15, "remaining": 0}
    assert (await http.post("/chat/completions", json=PROMPT, headers=bearer)).status_code == 429
    raised = await limit(16)
    assert (raised.status_code, raised.json().keys()) == (403, {"detail"})
    await running.gate.services.identity.users.grant(1, "admin")
    assert (await limit(20_000)).status_code == 200
    assert (await http.post("/chat/completions", json=PROMPT, headers=bearer)).status_code == 200


@pytest.mark.parametrize(
    "body", ["{}", '{"token_limit": -1}', '{"token_limit": null}', '{"token_limit": true}', "7"]
)
async def test_a_limit_that_is_no_number_of_tokens_is_400(http: httpx.AsyncClient, body: str) -> None:
    """The limit stays."""
    bearer = await log_in(http)
    answer = await http.put("/users/me/token-limit", content=body, headers=bearer)
    assert answer.status_code == 400
    assert (await used(http, bearer))["token_limit"] == 10_000


async def test_users_of_the_command_line_have_the_limit_of_gate_toml(running: Running) -> None:
    """`[[quotas]]` of config/accounts.toml gives one to who was not registered here."""
    await running.gate.services.identity.users.register("made_elsewhere", "secure_password123")
    form = {"username": "made_elsewhere", "password": "secure_password123"}
    token = (await running.http.post("/auth/token", data=form)).json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    await running.http.post("/chat/completions", json=PROMPT, headers=bearer)
    assert await used(running.http, bearer) == {
        "tokens_used": 20,
        "token_limit": 10_000,
        "remaining": 9_980,
    }
    body = {"token_limit": 10_001}
    assert (await running.http.put("/users/me/token-limit", json=body, headers=bearer)).status_code == 403


async def test_a_user_without_a_limit_is_told_so(open_config: OpenGate, upstream: str) -> None:
    """Where gate.toml gives none; what was used is counted all the same."""

    def change(document: dict[str, Any]) -> None:
        at(upstream)(document)
        del document["quotas"]

    async with open_config("accounts.toml", change) as running:
        await running.gate.services.identity.users.register("made_elsewhere", "secure_password123")
        form = {"username": "made_elsewhere", "password": "secure_password123"}
        token = (await running.http.post("/auth/token", data=form)).json()["access_token"]
        bearer = {"Authorization": f"Bearer {token}"}
        await running.http.post("/chat/completions", json=PROMPT, headers=bearer)
        assert await used(running.http, bearer) == {"tokens_used": 20, "token_limit": None, "remaining": None}


async def test_other_quotas_are_not_the_token_limit(running: Running) -> None:
    """An operator may set more of them; they hold, but the guide's numbers are those of the limit."""
    bearer = await log_in(running.http)
    quotas = running.gate.services.quotas
    await quotas.set(Subject("user", 1), Allotment(Unit.TOKENS, 10, model="your-model"))
    await quotas.set(Subject("user", 1), Allotment(Unit.REQUESTS, 1))
    assert (await used(running.http, bearer))["token_limit"] == 10_000
    assert (await running.http.post("/chat/completions", json=PROMPT, headers=bearer)).status_code == 429
