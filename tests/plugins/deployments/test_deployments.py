"""Deployments: who may write them, what they say, and that they are in effect at once everywhere."""

import socket

import httpx
import pytest
from servers import refused_url
from stores import Clock

from .conftest import API, GUIDES_DEPLOYMENT, HELLO, Ollama, add


@pytest.fixture
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name server knows any name."""

    async def resolve(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr("llmgate.proxy.address_guard.resolve_name", resolve)


@pytest.mark.usefixtures("no_names")
async def test_the_guides_deployment_is_created_though_nobody_answers_there_yet(
    http: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    """Its health tells, in a shape of its own."""
    answer = await http.post(f"{API}/deployments", headers=admin, json=GUIDES_DEPLOYMENT)
    assert answer.status_code == 201
    now = "2027-01-15T08:00:00"
    shown = {"id": 1, **GUIDES_DEPLOYMENT, "is_active": True, "created_at": now, "updated_at": now}
    assert answer.json() == shown
    assert (await http.get(f"{API}/deployments", headers=admin)).json() == [shown]
    assert (await http.get(f"{API}/deployments/1", headers=admin)).json() == shown
    health = await http.get(f"{API}/deployments/1/health", headers=admin)
    assert health.json() == {
        "deployment_id": 1,
        "name": "Production Ollama",
        "status": "unhealthy",
        "response_time_ms": None,
        "models": [],
        "checked_at": now,
    }


async def test_health_of_a_deployment_that_answers(
    http: httpx.AsyncClient, admin: dict[str, str], deployment: int
) -> None:
    """With its models and how long it took."""
    health = (await http.get(f"{API}/deployments/{deployment}/health", headers=admin)).json()
    assert health["status"] == "healthy"
    assert health["models"] == ["llama2", "mistral:latest"]
    assert health["response_time_ms"] >= 0


async def test_only_admins_write(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int, ollama: Ollama
) -> None:
    """Others read."""
    url = f"{API}/deployments/{deployment}"
    assert (await add(http, user, ollama.url, "mine")).status_code == 403
    assert (await http.put(url, headers=user, json={"name": "mine"})).status_code == 403
    assert (await http.delete(url, headers=user)).status_code == 403
    assert (await http.get(url, headers=user)).json()["name"] == "ollama"


async def test_a_change_holds_for_what_it_names(
    http: httpx.AsyncClient, admin: dict[str, str], deployment: int, clock: Clock
) -> None:
    """And for nothing else."""
    url = f"{API}/deployments/{deployment}"
    before = (await http.get(url, headers=admin)).json()
    clock.pass_by(5)
    after = (await http.put(url, headers=admin, json={"description": "new"})).json()
    assert after == {**before, "description": "new", "updated_at": "2027-01-15T08:00:05"}
    assert (await http.get(url, headers=admin)).json() == after


async def test_a_deleted_deployment_is_gone(
    http: httpx.AsyncClient, admin: dict[str, str], deployment: int
) -> None:
    """Its id is not given again."""
    url = f"{API}/deployments/{deployment}"
    assert (await http.delete(url, headers=admin)).status_code == 204
    for answer in (
        await http.get(url, headers=admin),
        await http.get(f"{url}/health", headers=admin),
        await http.put(url, headers=admin, json={"name": "x"}),
        await http.delete(url, headers=admin),
        await http.post(f"{API}/inference/chat", headers=admin, json={**HELLO, "deployment_id": deployment}),
    ):
        assert (answer.status_code, list(answer.json())) == (404, ["detail"])
    assert (await add(http, admin, await refused_url())).json()["id"] == deployment + 1


# --- addresses that the gate must not ask


# --- every worker
