"""The registry of models."""

import asyncio

import httpx
import pytest

from .conftest import API

GUIDES = {
    "name": "custom-llama2",
    "display_name": "Custom LLaMA 2",
    "description": "Fine-tuned LLaMA 2 model",
    "base_model": "llama2",
    "parameters": "7B",
    "is_public": False,
}
NOW = {"created_at": "2027-01-15T08:00:00", "updated_at": "2027-01-15T08:00:00"}


async def test_the_guides_model(http: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """Comes back as it was given, in the list and by its id."""
    answer = await http.post(f"{API}/models", headers=admin, json=GUIDES)
    shown = {"id": 1, **GUIDES, "is_active": True, **NOW}
    assert (answer.status_code, answer.json()) == (201, shown)
    assert (await http.get(f"{API}/models?is_active=true", headers=admin)).json() == [shown]
    assert (await http.get(f"{API}/models?is_active=false", headers=admin)).json() == []
    assert (await http.get(f"{API}/models/1", headers=admin)).json() == shown
    assert (await http.get(f"{API}/models/1/versions", headers=admin)).json() == []


async def test_what_is_not_public_is_for_admins(
    http: httpx.AsyncClient, admin: dict[str, str], user: dict[str, str]
) -> None:
    """For others it is not there; what is public they see, and may not change."""
    await http.post(f"{API}/models", headers=admin, json=GUIDES)
    for path in ("/models/1", "/models/1/versions"):
        assert (await http.get(API + path, headers=user)).status_code == 404
    assert (await http.get(f"{API}/models", headers=user)).json() == []
    await http.put(f"{API}/models/1", headers=admin, json={"is_public": True})
    assert (await http.get(f"{API}/models/1", headers=user)).json()["name"] == "custom-llama2"
    assert len((await http.get(f"{API}/models", headers=user)).json()) == 1
    assert (await http.put(f"{API}/models/1", headers=user, json={"name": "x"})).status_code == 403
    assert (await http.post(f"{API}/models", headers=user, json={"name": "x"})).status_code == 403


async def test_a_change_holds_for_what_it_names(http: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """null empties a field; the name must stay free of others."""
    await http.post(f"{API}/models", headers=admin, json=GUIDES)
    await http.post(f"{API}/models", headers=admin, json={"name": "other"})
    url = f"{API}/models/1"
    changed = (await http.put(url, headers=admin, json={"parameters": None, "is_active": False})).json()
    assert changed == {"id": 1, **GUIDES, "parameters": None, "is_active": False, **NOW}
    assert (await http.put(url, headers=admin, json={"name": "other"})).status_code == 409
    assert (await http.put(f"{API}/models/9", headers=admin, json={"name": "x"})).status_code == 404
    assert (await http.put(url, headers=admin, json={})).json() == changed


async def test_of_models_created_at_once_under_one_name_one_is(
    http: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    """The others learn that the name is taken."""
    answers = await asyncio.gather(
        *(http.post(f"{API}/models", headers=admin, json=GUIDES) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 4


@pytest.mark.parametrize("query", ["is_active=maybe", "is_active=true&is_active=false", "is_active"])
async def test_a_query_that_cannot_be_read_is_400(
    http: httpx.AsyncClient, admin: dict[str, str], query: str
) -> None:
    """Rather than ignored."""
    assert (await http.get(f"{API}/models?{query}", headers=admin)).status_code == 400


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": None}, {"name": "a\x00b"}, {"name": 1}, []])
async def test_a_model_needs_a_name(http: httpx.AsyncClient, admin: dict[str, str], body: object) -> None:
    """That can be shown."""
    assert (await http.post(f"{API}/models", headers=admin, json=body)).status_code == 400
