"""The address of the models: with and without /v1, LiteLLM's habits, budgets, regions that come and go."""

import asyncio
from typing import Any

import pytest
from pgvector_server import PASSWORD, PostgresServer
from servers import serve

from llmgate_private_ai.plans import DAY
from plugins.conftest import Model
from plugins.private_ai.conftest import OpenGate
from plugins.private_ai.gate import ADMIN, COST, USED, Running

ANN = "ann@example.com"
LIST = b'{"object":"list","data":[{"id":"gpt-4"},{"id":"text-embedding-3-small"},{"id":"whisper-1"}]}'


@pytest.fixture
async def token(running: Running) -> str:
    await running.user(ANN)
    token: str = (await running.token(ANN))["litellm_token"]
    return token


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/chat/completions"])
async def test_with_and_without_v1(running: Running, token: str, path: str) -> None:
    assert (await running.chat(token, path)).status_code == 200
    asked, headers, _ = running.backend.requests[-1]
    assert asked == "/v1/chat/completions"
    assert b"authorization" not in headers


@pytest.mark.parametrize("path", ["/completions", "/embeddings", "/images/generations", "/v1/embeddings"])
async def test_the_other_paths(running: Running, token: str, path: str) -> None:
    body = {"model": "gpt-4", "prompt": "x", "input": "x", "max_tokens": 5}
    answer = await running.models.post(path, json=body, headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    assert running.backend.requests[-1][0] == "/v1/" + path.removeprefix("/v1").lstrip("/")


async def test_what_is_not_for_keys_is_not_there(running: Running, token: str) -> None:
    for path in ("/tokenize", "/metrics", "/v1/responses", "/auth/me"):
        answer = await running.models.post(path, json={}, headers={"authorization": f"Bearer {token}"})
        assert answer.status_code in (404, 405)
    answer = await running.http.post(
        "/v1/chat/completions", json={}, headers={"authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 404


@pytest.mark.parametrize("path", ["/models", "/v1/models"])
async def test_the_list_of_models(running: Running, token: str, path: str) -> None:
    running.backend.answer = LIST
    answer = await running.models.get(path, headers={"authorization": f"Bearer {token}"})
    assert [card["id"] for card in answer.json()["data"]] == ["gpt-4", "text-embedding-3-small", "whisper-1"]


async def test_what_models_can_do(running: Running, token: str) -> None:
    running.backend.answer = LIST
    answer = await running.models.get("/model/info", headers={"authorization": f"Bearer {token}"})
    info = {model["model_name"]: model["model_info"] for model in answer.json()["data"]}
    assert {name: each["mode"] for name, each in info.items()} == {
        "gpt-4": "chat",
        "text-embedding-3-small": "embedding",
        "whisper-1": "audio_transcription",
    }
    assert info["gpt-4"]["supports_function_calling"] and not info["gpt-4"]["supports_vision"]
    assert "temperature" in info["gpt-4"]["supported_openai_params"]
    assert info["gpt-4"]["input_cost_per_token"] == 2.5e-6
    running.backend.status = 500
    answer = await running.models.get("/model/info", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 502


async def test_an_operator_says_what_a_name_does_not_tell(open_gate: OpenGate) -> None:
    def change(document: dict[str, Any]) -> None:
        facts = {"gpt-4": {"supports_vision": True, "max_tokens": 4096}, "whisper-1": {"mode": "chat"}}
        document["plugins"]["llmgate_private_ai_models"]["models"] = facts

    async with open_gate(change=change) as running:
        await running.user(ANN)
        token = (await running.token(ANN))["litellm_token"]
        running.backend.answer = LIST
        answer = await running.models.get("/model/info", headers={"authorization": f"Bearer {token}"})
        gpt, _, whisper = (model["model_info"] for model in answer.json()["data"])
        assert gpt["supports_vision"] and gpt["max_tokens"] == 4096 and whisper["mode"] == "chat"


async def test_liveliness_needs_no_key(running: Running) -> None:
    answer = await running.models.get("/health/liveliness")
    assert (answer.status_code, answer.json()) == (200, "I'm alive!")


@pytest.mark.parametrize("credential", ["sk-unknown", ""])
async def test_without_a_good_key(running: Running, credential: str) -> None:
    headers = {"authorization": f"Bearer {credential}"} if credential else {}
    answer = await running.models.post("/chat/completions", json={}, headers=headers)
    assert answer.status_code == 401 and answer.json()["error"]["type"] == "authentication_error"


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


async def test_a_teams_admin_gives_no_more_than_the_plan_does(running: Running) -> None:
    team = await running.team("Bees")
    await running.user("chief@bees.example", team_id=team, role="admin")
    key = await running.token("chief@bees.example")
    for more in ({"max_budget": 27.5}, {"rpm": 501}, {"duration": "31d"}):
        body = {"token": key["litellm_token"], "duration": 30, **more}
        path = "/private-ai-keys/token/extend-token-life"
        refused = await running.ask("chief@bees.example", "PUT", path, body, status=402)
        assert refused["detail"].startswith("The plan of this team gives a key at most ")
    assert (await running.ask("chief@bees.example", "GET", f"/private-ai-keys/{key['id']}"))[
        "max_budget"
    ] == 27.0


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


def region(server: PostgresServer, url: str, **rest: Any) -> dict[str, Any]:
    return {
        "name": "far", "label": "Far away", "postgres_host": server.host, "postgres_port": server.port,
        "postgres_admin_user": "postgres", "postgres_admin_password": PASSWORD, "litellm_api_url": url,
        "litellm_api_key": "sk-backend", **rest,
    }  # fmt: skip


async def test_a_region_is_added_while_the_gate_runs(open_gate: OpenGate, postgres: PostgresServer) -> None:
    far = Model(USED)
    async with serve(far) as url, open_gate(postgres=postgres) as running:
        made = await running.ask(ADMIN, "POST", "/regions", region(postgres, url + "/v1/"))
        assert (made["litellm_api_url"], made["postgres_admin_user"]) == (url, "postgres")
        assert "password" not in str(made) and "sk-backend" not in str(made)
        await running.user(ANN)
        listed = await running.ask(ANN, "GET", "/regions")
        assert [each["litellm_api_url"] for each in listed] == ["http://localhost:4000"] * 2
        assert set(listed[1]) == {
            *("id", "name", "label", "description", "postgres_host", "litellm_api_url", "is_active"),
            *("is_dedicated", "created_at"),
        }
        key = await running.token(ANN, region_id=made["id"])
        assert (await running.chat(key["litellm_token"])).status_code == 200
        _, headers, _ = far.requests[-1]
        assert headers[b"authorization"] == b"Bearer sk-backend" and running.backend.requests == []
        again = await running.ask(ADMIN, "POST", "/regions", region(postgres, url), status=400)
        assert again == {"detail": "A region with the name 'far' already exists"}
        path = f"/regions/{made['id']}"
        kept = await running.ask(ADMIN, "PUT", path, {"label": "Near", "litellm_api_key": ""})
        assert kept["label"] == "Near"
        await running.chat(key["litellm_token"])
        assert far.requests[-1][1][b"authorization"] == b"Bearer sk-backend"
        other = Model(USED)
        async with serve(other) as moved:
            await running.ask(ADMIN, "PUT", path, {"litellm_api_url": moved})
            assert (await running.chat(key["litellm_token"])).status_code == 200
            assert len(other.requests) == 1


async def test_a_region_whose_servers_do_not_answer_is_not_added(
    open_gate: OpenGate, postgres: PostgresServer
) -> None:
    async with serve(Model(LIST)) as url, open_gate(postgres=postgres) as running:
        for changed, detail in (
            ({"litellm_api_url": "http://127.0.0.1:1"}, "LiteLLM endpoint validation failed: "),
            (
                {"litellm_api_url": "route:none"},
                "LiteLLM endpoint validation failed: gate.toml has no such route",
            ),
            ({"litellm_api_url": "http://127.0.0.1:8800"}, "LiteLLM endpoint validation failed: "),
            ({"postgres_port": 1}, "Database connection validation failed: the server cannot be reached"),
            ({"postgres_admin_password": "x"}, "Database connection validation failed: the server refused"),
        ):
            body = region(postgres, url) | changed
            refused = await running.ask(ADMIN, "POST", "/regions", body, status=400)
            assert refused["detail"].startswith(detail), refused
        await running.ask(ADMIN, "POST", "/regions", region(postgres, "not a url"), status=422)
        assert len(await running.ask(ADMIN, "GET", "/regions/admin")) == 1


async def test_a_dedicated_region_is_for_its_teams_alone(
    open_gate: OpenGate, postgres: PostgresServer
) -> None:
    async with open_gate(postgres=postgres) as running:
        body = region(postgres, "route:models", is_dedicated=True)
        made = await running.ask(ADMIN, "POST", "/regions", body)
        bees, wasps = await running.team("Bees"), await running.team("Wasps")
        await running.user(ANN, team_id=bees, role="key_creator")
        await running.user("bob@example.com", team_id=wasps, role="key_creator")
        path = f"/regions/{made['id']}/teams"
        await running.ask(ADMIN, "POST", f"{path}/{bees}")
        await running.ask(ADMIN, "POST", f"{path}/{bees}", status=400)
        public = await running.ask(ADMIN, "POST", f"/regions/1/teams/{bees}", status=400)
        assert public == {"detail": "Can only associate teams with dedicated regions"}
        assert [team["id"] for team in await running.ask(ADMIN, "GET", path)] == [bees]
        assert len(await running.ask(ANN, "GET", "/regions")) == 2
        assert len(await running.ask("bob@example.com", "GET", "/regions")) == 1
        new = {"name": "k", "region_id": made["id"]}
        await running.ask(ANN, "POST", "/private-ai-keys/token", new)
        refused = await running.ask("bob@example.com", "POST", "/private-ai-keys/token", new, status=404)
        assert refused == {"detail": "Region not found or inactive"}
        await running.ask(ADMIN, "DELETE", f"{path}/{bees}")
        await running.ask(ADMIN, "DELETE", f"{path}/{bees}", status=404)
        assert len(await running.ask(ANN, "GET", "/regions")) == 1
