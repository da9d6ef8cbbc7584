"""The guide in front of a real model: streams, and counts that are the model's own."""

from typing import Any

import httpx
import msgspec
from real_backends import llama

from plugins.conftest import OpenGate

__all__ = ["llama"]

USER = {"username": "john_doe", "password": "secure_password123"}
CHAT = {
    "messages": [{"role": "user", "content": "Count to ten, in Ελληνικά 🙂."}],
    "max_tokens": 12,
    "ignore_eos": True,  # llama.cpp's own: the answer is as long as it may be
}
PROMPT = {"prompt": "Hello, how are you?", "max_tokens": 9, "ignore_eos": True}


def in_front_of(url: str) -> Any:
    def change(document: dict[str, Any]) -> None:
        document["upstreams"]["vllm"] |= {"urls": [url], "dialect": "llama_server"}

    return change


async def stream(http: httpx.AsyncClient, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a stream, which must be several and have ended in order.

    In how many pieces they come depends on how fast the model is and how busy the machine.
    """
    async with http.stream("POST", "/chat/completions", json={**body, "stream": True}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        whole = await answer.aread()
    events = [event.removeprefix(b"data: ") for event in whole.split(b"\n\n")]
    assert len(events) > 3
    assert events[-2:] == [b"[DONE]", b""]
    return [msgspec.json.decode(event) for event in events[:-2]]


async def test_usage_is_what_a_real_model_reports(open_config: OpenGate, llama: str) -> None:
    """Plain and streamed, prompt and chat, whether the client asks for usage or not."""
    async with open_config("accounts.toml", in_front_of(llama)) as running:
        http = running.http
        assert (await http.post("/auth/register", json=USER)).status_code == 200
        token = (await http.post("/auth/token", data=USER)).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        spent = 0
        for body in (PROMPT, CHAT):
            plain = (await http.post("/chat/completions", json=body)).json()["usage"]["total_tokens"]
            asking = await stream(http, {**body, "stream_options": {"include_usage": True}})
            asked = asking[-1]["usage"]["total_tokens"]
            assert asked == plain > body["max_tokens"]
            silent = await stream(http, body)
            assert all(event["choices"] for event in silent), "nothing that the client did not ask for"
            spent += plain + asked + plain
            usage = (await http.get("/users/usage")).json()
            assert usage == {"tokens_used": spent, "token_limit": 10_000, "remaining": 10_000 - spent}


async def test_a_real_model_never_passes_the_limit(open_config: OpenGate, llama: str) -> None:
    """A request that asks for more gets as much as is left; then there is nothing."""
    async with open_config("accounts.toml", in_front_of(llama)) as running:
        http = running.http
        user = {**USER, "token_limit": 150}
        assert (await http.post("/auth/register", json=user)).status_code == 200
        token = (await http.post("/auth/token", data=USER)).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        statuses = []
        for _ in range(8):
            body = {**PROMPT, "max_tokens": 1000}
            statuses.append((await http.post("/chat/completions", json=body)).status_code)
        usage = (await http.get("/users/usage")).json()
        assert statuses[0] == 200
        assert statuses[-1] == 429
        assert 0 < usage["tokens_used"] <= 150
        assert usage["remaining"] == 150 - usage["tokens_used"]
