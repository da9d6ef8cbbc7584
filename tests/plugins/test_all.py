"""All surfaces on the gate of config/all.toml: one set of users, keys and books."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from servers import serve

from llmgate.cli.dry_run import dry_run
from llmgate.config import load
from llmgate.errors import ConfigError

from .conftest import CONFIG, SEALING_KEY, Model, OpenGate, Running

ADA = {"username": "ada", "password": "secure-password-1"}
PREFIXED = ("llmgate_accounts", "llmgate_deployments", "llmgate_leaky_tokens")
CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 100, "model": "m"}


@pytest.fixture
async def running(open_all: OpenGate, model: Model) -> AsyncIterator[Running]:
    async with serve(model) as url, open_all(url) as running:
        yield running


async def test_it_can_be_served_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment that its first lines tell of; two surfaces on the ports of their guides."""
    monkeypatch.setenv("LLMGATE_SEALING_KEY", SEALING_KEY)
    async with dry_run(load(CONFIG / "all.toml")) as gate:
        assert [address.port for address in gate.apps] == [8000, 5000, 8800, 4000, 3000]


async def test_a_user_of_the_platform_is_one_everywhere(running: Running, model: Model) -> None:
    """The key that the platform gave opens the others, and what all of them used is in one ledger."""
    model.answer = model.answer.replace(b'"usage"', b'"choices":[{"text":" 1","message":{}}],"usage"')
    platform = running.at[5000]
    user = ADA | {"email": "ada@example.com"}
    key = (await platform.post("/api/auth/register", json=user)).json()["api_key"]
    asked = {"prompt": "1 +", "max_length": 15}
    answer = await platform.post("/api/models/1/generate", json=asked, headers={"X-API-Key": key})
    assert (answer.status_code, answer.json()["text"]) == (200, "1 + 1")
    bearer = {"Authorization": f"Bearer {key}"}
    assert (await running.http.post("/v1/chat/completions", headers=bearer, json=CHAT)).status_code == 200
    used = (await running.http.get("/accounts/users/usage", headers=bearer)).json()["tokens_used"]
    assert used == 40
    (listed,) = (await platform.get("/api/auth/keys", headers=bearer)).json()["api_keys"]
    assert listed["usage_count"] == 2
    valid = await running.http.get("/leaky-tokens/api/v1/auth/api-keys/validate", headers={"X-Api-Key": key})
    assert valid.status_code == 200


async def test_a_user_of_the_private_ai_is_one_everywhere(running: Running) -> None:
    api, password = running.at[8800], ADA["password"]
    user = {"email": "ada@example.com", "password": password}
    assert (await api.post("/auth/register", json=user)).status_code in {200, 201}
    assert (await running.at[3000].get("/auth/login")).status_code == 200
    assert (await running.at[4000].get("/health/liveliness")).status_code == 200
    token = await running.http.post(
        "/accounts/auth/token", data={"username": "ada@example.com", "password": password}
    )
    assert token.status_code == 200, token.text


@pytest.mark.parametrize(
    ("port", "path"),
    [(8000, "/accounts/users/me"), (5000, "/api/statistics"), (8800, "/regions"), (4000, "/v1/model/info")],
)
async def test_a_path_is_on_its_own_address_alone(running: Running, port: int, path: str) -> None:
    assert [each for each, http in running.at.items() if (await http.get(path)).status_code != 404] == [port]


async def test_a_user_made_on_one_surface_has_a_key_for_all(running: Running) -> None:
    """Registered with accounts, logged in at the deployments; the key made there opens routes and surfaces."""
    http = running.http
    assert (await http.post("/accounts/auth/register", json=ADA)).status_code == 200
    token = (await http.post("/bku/api/v1/auth/login", json=ADA)).json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    made = await http.post("/bku/api/v1/auth/api-keys", headers=bearer, json={"name": "k"})
    key = made.json()["key"]
    assert (await http.post("/v1/chat/completions", headers={"X-API-Key": key}, json=CHAT)).status_code == 200
    usage = await http.get("/accounts/users/usage", headers={"Authorization": f"Bearer {key}"})
    assert usage.json()["tokens_used"] == 20
    seen = await http.get("/bku/api/v1/monitoring/usage", headers={"X-API-Key": key})
    assert (seen.json()["total_requests"], seen.json()["total_tokens"]) == (1, 20)
    valid = await http.get("/leaky-tokens/api/v1/auth/api-keys/validate", headers={"X-Api-Key": key})
    assert (valid.status_code, valid.json()["name"]) == (200, "k")


@pytest.mark.parametrize(
    "path", ["/accounts/auth/sessions", "/bku/api/v1/auth/sessions", "/leaky-tokens/api/v1/auth/sessions"]
)
async def test_all_sessions_end_at_any_surface_and_a_key_ends_none(running: Running, path: str) -> None:
    http = running.http
    await http.post("/accounts/auth/register", json=ADA)
    tokens = [(await http.post("/bku/api/v1/auth/login", json=ADA)).json()["access_token"] for _ in range(2)]
    first, second = ({"Authorization": f"Bearer {token}"} for token in tokens)
    made = await http.post("/bku/api/v1/auth/api-keys", headers=first, json={"name": "k"})
    by_key = {"Authorization": f"Bearer {made.json()['key']}"}
    assert (await http.delete(path, headers=by_key)).status_code == 403
    assert (await http.delete(path, headers=second)).status_code == 204
    for bearer in (first, second):
        assert (await http.get("/accounts/users/me", headers=bearer)).status_code == 401
    assert (await http.get("/accounts/users/me", headers=by_key)).status_code == 200


async def test_what_was_bought_is_not_bounded_by_what_everybody_has(open_all: OpenGate) -> None:
    """Nor does it open what it was not bought for."""

    def change(document: dict[str, Any]) -> None:
        document["quotas"][0]["tokens"] = 120

    choices = b'"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]'
    usage = b'"usage":{"prompt_tokens":5,"completion_tokens":15,"total_tokens":20}'
    async with serve(Model(b"{%b,%b}" % (choices, usage))) as url, open_all(url, change) as running:
        http = running.http
        await http.post("/accounts/auth/register", json={**ADA, "token_limit": 10_000})
        session = (await http.post("/leaky-tokens/api/v1/auth/login", json=ADA)).json()
        bearer = {"Authorization": f"Bearer {session['token']}"}
        made = await http.post("/bku/api/v1/auth/api-keys", headers=bearer, json={"name": "k"})
        key = {"X-API-Key": made.json()["key"]}
        answers = [await http.post("/v1/chat/completions", headers=key, json=CHAT) for _ in range(6)]
        assert [each.status_code for each in (answers[0], answers[-1])] == [200, 429]
        assert answers[0].headers["x-ratelimit-limit-tokens"] == "120"
        given = {"userId": session["userId"], "provider": "paid", "totalTokens": 500}
        user = await running.gate.services.identity.users.by_username("ada")
        await running.gate.services.identity.users.grant(user.id, "admin")
        await http.put("/leaky-tokens/api/v1/tokens/quota", headers=bearer, json=given)
        asked = {"userId": session["userId"], "provider": "paid", "tokens": 50, "prompt": "Hi"}
        for _ in range(2):
            bought = await http.post("/leaky-tokens/api/v1/tokens/consume", headers=bearer, json=asked)
            assert bought.status_code == 200, bought.text
        assert (await http.post("/v1/chat/completions", headers=key, json=CHAT)).status_code == 429


async def test_a_key_that_is_deleted_on_one_surface_is_over_on_all(running: Running) -> None:
    """At once."""
    http = running.http
    await http.post("/accounts/auth/register", json=ADA)
    token = (await http.post("/bku/api/v1/auth/login", json=ADA)).json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    made = (await http.post("/bku/api/v1/auth/api-keys", headers=bearer, json={"name": "k"})).json()
    key = {"X-API-Key": made["key"]}
    assert (await http.post("/v1/chat/completions", headers=key, json=CHAT)).status_code == 200
    await http.delete(f"/bku/api/v1/auth/api-keys/{made['id']}", headers=bearer)
    assert (await http.post("/v1/chat/completions", headers=key, json=CHAT)).status_code == 401


async def test_without_prefixes_the_clash_is_reported(open_all: OpenGate) -> None:
    """Every path that two guides claim, with both plugins and what to write."""

    def change(document: dict[str, Any]) -> None:
        for name in PREFIXED:
            del document["plugins"][name]["prefix"]

    with pytest.raises(ConfigError) as refused:
        async with open_all("http://127.0.0.1:1", change):
            pass
    clashes = [problem for problem in refused.value.problems if "/api/v1/auth/register" in problem]
    assert len(clashes) == 1
    for word in (
        "plugins.llmgate_deployments",
        "plugins.llmgate_leaky_tokens",
        "POST",
        "`prefix`",
        "`listen`",
    ):
        assert word in clashes[0]


async def test_all_on_one_address_is_reported(open_all: OpenGate) -> None:
    """Each of the five shares a path with another one."""

    def change(document: dict[str, Any]) -> None:
        for table in document["plugins"].values():
            table.pop("prefix", None)
            table.pop("listen", None)

    with pytest.raises(ConfigError) as refused:
        async with open_all("http://127.0.0.1:1", change):
            pass
    text = "\n".join(refused.value.problems)
    assert "POST /api/auth/register is also claimed by plugins.llmgate_platform" in text
    assert "POST /auth/register is also claimed by plugins.llmgate_accounts" in text
    assert "POST /v1/chat/completions is also claimed by plugins.llmgate_private_ai_models" in text


async def test_a_listen_address_of_its_own_ends_the_clash(open_all: OpenGate) -> None:
    """As the message says."""

    def change(document: dict[str, Any]) -> None:
        for name in PREFIXED:
            del document["plugins"][name]["prefix"]
        document["plugins"]["llmgate_deployments"]["listen"] = "127.0.0.1:8004"

    async with open_all("http://127.0.0.1:1", change) as running:
        assert len(running.gate.apps) == 6
