"""The models that deployments have."""

import httpx
from servers import refused_url, serve
from stores import Clock

from .conftest import API, CHAT, HELLO, Ollama, add


async def test_models_are_asked_for_now_and_then(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int, ollama: Ollama, clock: Clock
) -> None:
    """Not for every chat; a new one is known after ten seconds."""
    await http.post(CHAT, headers=user, json=HELLO)
    listed = ollama.listed
    for _ in range(3):
        await http.post(CHAT, headers=user, json=HELLO)
    ollama.models = ["new"]
    assert (await http.post(CHAT, headers=user, json={**HELLO, "model": "new"})).status_code == 404
    clock.pass_by(10)
    assert (await http.post(CHAT, headers=user, json={**HELLO, "model": "new"})).status_code == 200
    assert ollama.listed <= listed + 2  # one of them may be a probe


async def test_models_of_one_deployment_or_of_all(
    http: httpx.AsyncClient, admin: dict[str, str], deployment: int
) -> None:
    """Each name once; one that is away has none to offer."""
    url = f"{API}/inference/models"
    async with serve(Ollama(models=["qwen", "llama2"])) as other:
        number = (await add(http, admin, other, "other")).json()["id"]
        away = (await add(http, admin, await refused_url(), "away")).json()["id"]
        assert (await http.get(url, headers=admin)).json() == {"models": ["llama2", "mistral:latest", "qwen"]}
        for asked, models in ((deployment, ["llama2", "mistral:latest"]), (number, ["qwen", "llama2"])):
            answer = await http.get(url, headers=admin, params={"deployment_id": asked})
            assert answer.json() == {"models": models}
        assert (await http.get(url, headers=admin, params={"deployment_id": away})).status_code == 500
        assert (await http.get(url, headers=admin, params={"deployment_id": 99})).status_code == 404
        assert (await http.get(url, headers=admin, params={"deployment_id": "x"})).status_code == 400


async def test_models_where_there_are_none(
    http: httpx.AsyncClient, admin: dict[str, str], ollama: Ollama
) -> None:
    """404 without a deployment; an empty Ollama has an empty list."""
    url = f"{API}/inference/models"
    assert (await http.get(url, headers=admin)).status_code == 404
    ollama.models = None
    await add(http, admin, ollama.url)
    assert (await http.get(url, headers=admin)).json() == {"models": []}
