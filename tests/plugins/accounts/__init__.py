"""What the tests of llmgate_accounts share: the gate of config/accounts.toml, and a user of it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from servers import serve

from llmgate.errors import ConfigError
from plugins.conftest import Model, OpenGate, Running

JOHN = {"username": "john_doe", "password": "secure_password123", "token_limit": 10000}
PROMPT = {"prompt": "Hello, how are you?", "max_tokens": 100, "temperature": 0.7}


@pytest.fixture
async def upstream(model: Model) -> AsyncIterator[str]:
    async with serve(model) as url:
        yield url


@pytest.fixture
async def running(open_config: OpenGate, upstream: str) -> AsyncIterator[Running]:
    async with open_config("accounts.toml", at(upstream)) as running:
        yield running


@pytest.fixture
async def http(running: Running) -> httpx.AsyncClient:
    return running.http


def at(upstream: str, **settings: object) -> Any:
    """A change of the config: the upstream's address, and settings of the plugin."""

    def change(document: dict[str, Any]) -> None:
        document["upstreams"]["vllm"]["urls"] = [upstream]
        document["plugins"]["llmgate_accounts"] |= settings

    return change


async def log_in(http: httpx.AsyncClient, who: dict[str, Any] = JOHN) -> dict[str, str]:
    """Register and log in; returns the header that proves it."""
    assert (await http.post("/auth/register", json=who)).status_code == 200
    form = {"username": who["username"], "password": who["password"]}
    token = (await http.post("/auth/token", data=form)).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


async def used(http: httpx.AsyncClient, bearer: dict[str, str]) -> Any:
    return (await http.get("/users/usage", headers=bearer)).json()


async def problems(open_config: OpenGate, change: Any) -> str:
    """What is wrong with config/accounts.toml, changed by `change`."""
    with pytest.raises(ConfigError) as caught:
        async with open_config("accounts.toml", change):
            pass
    return str(caught.value)
