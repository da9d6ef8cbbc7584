"""The address of the models: with and without /v1, and LiteLLM's habits."""

from typing import Any

import pytest

from plugins.private_ai.conftest import OpenGate
from plugins.private_ai.gate import LIST, Running

ANN = "ann@example.com"


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
