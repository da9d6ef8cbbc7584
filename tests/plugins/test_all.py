"""Several surfaces on the gate of config/all.toml: one set of users, keys and books."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from servers import serve

from llmgate.errors import ConfigError
from llmgate.plugin.loader import load_plugin
from llmgate.store import CORE, migrate

from .conftest import Model, OpenGate, Running

ADA = {"username": "ada", "password": "secure-password-1"}
SURFACES = ("llmgate_accounts", "llmgate_deployments", "llmgate_leaky_tokens")
CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 100, "model": "m"}


@pytest.fixture
async def store(tmp_path: Path) -> None:
    """A store with the tables of all surfaces, where `open_config` looks for it."""
    own = [getattr(load_plugin(name), "migrations", None) for name in SURFACES]
    await migrate(f"sqlite:///{tmp_path / 'gate.db'}", sets=[CORE, *filter(None, own)])


@pytest.fixture
async def running(open_config: OpenGate, store: None, model: Model) -> AsyncIterator[Running]:
    async with serve(model) as url:

        def change(document: dict[str, Any]) -> None:
            document["upstreams"]["vllm"]["urls"] = [url]

        async with open_config("all.toml", change) as running:
            yield running


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


async def test_without_prefixes_the_clash_is_reported(open_config: OpenGate, store: None) -> None:
    """Every path that two guides claim, with both plugins and what to write."""

    def change(document: dict[str, Any]) -> None:
        for name in SURFACES:
            del document["plugins"][name]["prefix"]

    with pytest.raises(ConfigError) as refused:
        async with open_config("all.toml", change):
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


async def test_a_listen_address_of_its_own_ends_the_clash(open_config: OpenGate, store: None) -> None:
    """As the message says."""

    def change(document: dict[str, Any]) -> None:
        for name in SURFACES:
            del document["plugins"][name]["prefix"]
        document["plugins"]["llmgate_deployments"]["listen"] = "127.0.0.1:8004"

    async with open_config("all.toml", change) as running:
        assert len(running.gate.apps) == 2
