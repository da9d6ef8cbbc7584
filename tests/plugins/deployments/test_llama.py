"""A deployment that is a real llama.cpp server: chats, streams, and counts that are the model's own."""

import httpx
from real_backends import llama

from .conftest import ADA, API, OpenBku, add, key_of, log_in

__all__ = ["llama"]

CHAT = {
    "messages": [{"role": "user", "content": "Count to ten, in Ελληνικά 🙂."}],
    "max_tokens": 12,
    "temperature": 0,
}


async def streamed(http: httpx.AsyncClient, bearer: dict[str, str], body: dict[str, object]) -> list[str]:
    """What the stream's events say."""
    async with http.stream("POST", f"{API}/inference/chat/stream", headers=bearer, json=body) as answer:
        assert answer.status_code == 200
        text = (await answer.aread()).decode()
    events = text.removesuffix("\n\n").split("\n\n")
    return ["\n".join(line.removeprefix("data: ") for line in event.split("\n")) for event in events]


async def test_a_real_model_chats(open_bku: OpenBku, llama: str) -> None:
    """Whole and as a stream it says the same, and both are in the books to the token."""
    async with open_bku(dialect="llama_server") as running:
        http = running.http
        admin = await log_in(http, ADA)
        assert (await add(http, admin, llama)).status_code == 201
        health = (await http.get(f"{API}/deployments/1/health", headers=admin)).json()
        assert health["status"] == "healthy"
        [model] = (await http.get(f"{API}/inference/models", headers=admin)).json()["models"]
        assert health["models"] == [model]
        body = {**CHAT, "model": model}
        key = {"X-API-Key": await key_of(http, admin)}
        answer = (await http.post(f"{API}/inference/chat/api-key", headers=key, json=body)).json()
        assert answer["usage"]["total_tokens"] > answer["usage"]["completion_tokens"] > 0
        *texts, end = await streamed(http, admin, body)
        assert end == "[DONE]"
        assert len(texts) > 1
        assert "".join(texts) == answer["content"]
        usage = (await http.get(f"{API}/monitoring/usage", headers=admin)).json()
        assert usage["total_tokens"] == 2 * answer["usage"]["total_tokens"]
        logs = (await http.get(f"{API}/monitoring/my-logs", headers=admin)).json()
        assert [entry["certainty"] for entry in logs] == ["exact", "exact"]
