"""Which deployment answers."""

from typing import Any

import httpx
import pytest
from servers import refused_url, serve

from .conftest import ADA, API, CHAT, HELLO, Ollama, OpenBku, add, log_in


@pytest.mark.parametrize("number", [2, 999, -1, 2**62])
async def test_an_unknown_deployment_is_404(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int, number: int
) -> None:
    """As the guide says."""
    answer = await http.post(CHAT, headers=user, json={**HELLO, "deployment_id": number})
    assert (answer.status_code, list(answer.json())) == (404, ["detail"])


@pytest.mark.parametrize("number", [None, 1])
async def test_an_unknown_model_is_404(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int, number: int | None, ollama: Ollama
) -> None:
    """Whether or not a deployment is named."""
    body = {**HELLO, "model": "unknown", "deployment_id": number}
    assert (await http.post(CHAT, headers=user, json=body)).status_code == 404
    assert ollama.asked == []


async def test_a_name_without_a_tag_means_the_latest(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int, ollama: Ollama
) -> None:
    """As it does for Ollama, which gets the name as it was written."""
    assert (await http.post(CHAT, headers=user, json={**HELLO, "model": "mistral"})).status_code == 200
    assert ollama.asked[0]["model"] == "mistral"


async def test_the_first_deployment_that_has_the_model_answers(
    http: httpx.AsyncClient, admin: dict[str, str], deployment: int
) -> None:
    """Where none is named; one that is away is passed over."""
    second = Ollama(models=["llama2", "qwen"], texts=["second"])
    async with serve(second) as url:
        await add(http, admin, await refused_url(), "away")
        number = (await add(http, admin, url, "second")).json()["id"]

        async def answered(model: str) -> Any:
            answer = await http.post(CHAT, headers=admin, json={**HELLO, "model": model})
            return answer.json().get("deployment_id")

        assert await answered("llama2") == deployment
        assert await answered("qwen") == number
        await http.delete(f"{API}/deployments/{deployment}", headers=admin)
        assert await answered("llama2") == number


async def test_a_deployment_that_is_not_active_serves_nobody_until_it_is(
    http: httpx.AsyncClient, admin: dict[str, str], deployment: int
) -> None:
    """404, as for one that is not there."""
    url = f"{API}/deployments/{deployment}"
    await http.put(url, headers=admin, json={"is_active": False})
    assert (await http.get(f"{url}/health", headers=admin)).json()["status"] == "inactive"
    chat = {**HELLO, "deployment_id": deployment}
    assert (await http.post(f"{API}/inference/chat", headers=admin, json=chat)).status_code == 404
    assert (await http.post(f"{API}/inference/chat", headers=admin, json=HELLO)).status_code == 404
    await http.put(url, headers=admin, json={"is_active": True})
    assert (await http.post(f"{API}/inference/chat", headers=admin, json=chat)).status_code == 200


async def test_what_an_admin_writes_holds_in_every_worker_at_once(open_bku: OpenBku, ollama: Ollama) -> None:
    """Two gates on one store: adding, moving and deleting through one is seen by the very next request to the other."""
    async with open_bku() as one, open_bku() as two:
        admin = await log_in(one.http, ADA)

        async def chat() -> int:
            return (await two.http.post(f"{API}/inference/chat", headers=admin, json=HELLO)).status_code

        assert await chat() == 404
        number = (await add(one.http, admin, ollama.url)).json()["id"]
        assert await chat() == 200
        url = f"{API}/deployments/{number}"
        nobody = int((await refused_url()).rpartition(":")[2])
        await one.http.put(url, headers=admin, json={"port": nobody})
        assert await chat() == 500
        await one.http.put(url, headers=admin, json={"port": int(ollama.url.rpartition(":")[2])})
        assert await chat() == 200
        await one.http.delete(url, headers=admin)
        assert await chat() == 404


async def test_deployments_outlive_the_gate(open_bku: OpenBku, ollama: Ollama) -> None:
    """The next one finds them in the store."""
    async with open_bku() as running:
        admin = await log_in(running.http, ADA)
        await add(running.http, admin, ollama.url)
    async with open_bku() as running:
        answer = await running.http.post(f"{API}/inference/chat", headers=admin, json=HELLO)
        assert answer.status_code == 200


async def test_metrics_show_a_deployment_while_it_is_there(
    http: httpx.AsyncClient, admin: dict[str, str], deployment: int, user: dict[str, str], ollama: Ollama
) -> None:
    """Under the name that the ledger has for it."""
    up = f'llmgate_upstream_up{{replica="{ollama.url}",upstream="deployment:{deployment}"}}'
    await http.post(f"{API}/inference/chat", headers=user, json=HELLO)
    assert up in (await http.get("/metrics")).text
    await http.delete(f"{API}/deployments/{deployment}", headers=admin)
    await http.post(f"{API}/inference/chat", headers=user, json=HELLO)
    assert up not in (await http.get("/metrics")).text
