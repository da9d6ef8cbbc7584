"""A real llama.cpp, an Ollama and OpenAI beside each other behind one /v1, over sockets: JSON, streams and forms."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from shutil import copy
from typing import Any

import httpx
import msgspec
from gates import Running, running
from real_backends import llama
from servers import serve, until
from sqlalchemy import select
from starlette.types import Receive, Scope, Send
from stores import migrated_file

from llmgate.exchange import read_body
from llmgate.store.schema import usage

__all__ = ["llama", "migrated_file"]

COUNTED = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


class Stub:
    """Answers as Ollama's or OpenAI's `/v1` does, for `models`, and keeps what it was asked."""

    def __init__(self, *models: str) -> None:
        self.models = models
        self.asked: list[tuple[str, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, 1 << 20)
        kind, answer = b"application/json", b""
        if scope["method"] == "GET":
            cards = [
                {"id": model, "object": "model", "created": 1, "owned_by": "library"} for model in self.models
            ]
            answer = msgspec.json.encode({"object": "list", "data": cards})
        else:
            self.asked.append((scope["path"], body))
        if scope["path"].endswith("/transcriptions"):
            answer = b'{"text":"Hello","usage":{"type":"tokens","input_tokens":3,"output_tokens":4,"total_tokens":7}}'
        elif scope["method"] == "POST" and b'"stream":true' in body:
            kind, answer = b"text/event-stream", _events(msgspec.json.decode(body)["model"])
        elif scope["method"] == "POST":
            message = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
            model = msgspec.json.decode(body)["model"]
            answer = msgspec.json.encode({"model": model, "choices": [message], "usage": COUNTED})
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def _events(model: str) -> bytes:
    choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}
    chunks = [{"model": model, "choices": [choice]}, {"model": model, "choices": [], "usage": COUNTED}]
    return (
        b"".join(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    )


@asynccontextmanager
async def beside(
    llama: str, tmp_path: Path, migrated_file: Path, **backends: Stub
) -> AsyncIterator[tuple[Running, httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        urls = {"llama": llama}
        for name, backend in backends.items():
            urls[name] = await stack.enter_async_context(serve(backend))
        dialects = {"llama": "llama_server", "ollama": "ollama", "openai": "openai"}
        upstreams: dict[str, dict[str, Any]] = {
            name: {"urls": [url], "dialect": dialects[name], "max_in_flight": 4, "context_length": 1024}
            for name, url in urls.items()
        }
        store = Path(copy(migrated_file, tmp_path / "gate.db"))
        routes = [{"path": "/v1", "upstreams": list(urls)}]
        gate = await stack.enter_async_context(running(tmp_path, store, upstreams=upstreams, routes=routes))
        headers = {"authorization": f"Bearer {gate.key}"}
        http = httpx.AsyncClient(base_url=gate.url, headers=headers, timeout=60.0, trust_env=False)
        await stack.enter_async_context(http)
        await _listed(gate, len(urls))
        yield gate, http


async def _listed(gate: Running, number: int) -> None:
    """Wait until every upstream has shown its list: the gate asks as it starts."""

    upstreams = gate.gate.services.upstreams.values()
    await until(lambda: sum(bool(upstream.model_names) for upstream in upstreams) == number)


async def used(gate: Running) -> list[tuple[str, str, str, bool]]:
    await gate.runtime.store.flush()
    columns = usage.c["upstream", "model", "certainty", "engine_seconds"]
    async with gate.runtime.store.connect() as db:
        rows = (await db.execute(select(*columns).order_by(usage.c.at))).all()
    return [(row.upstream, row.model, row.certainty, row.engine_seconds > 0) for row in rows]


async def test_each_answers_for_its_models_and_is_counted_in_its_own_words(
    llama: str, tmp_path: Path, migrated_file: Path
) -> None:
    ollama, openai = Stub("qwen3:0.6b"), Stub("gpt-4o", "whisper-1")
    async with beside(llama, tmp_path, migrated_file, ollama=ollama, openai=openai) as (gate, http):
        listed = (await http.get("/v1/models")).json()["data"]
        assert {card["id"] for card in listed} == {"smollm2", "qwen3:0.6b", "gpt-4o", "whisper-1"}
        for model in ("smollm2", "qwen3:0.6b", "gpt-4o"):
            body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
            answer = await http.post("/v1/chat/completions", json=body)
            assert (answer.status_code, answer.headers["x-gate-model"]) == (200, model), answer.text
            streamed = await http.post("/v1/chat/completions", json={**body, "stream": True})
            assert streamed.text.rstrip().endswith("data: [DONE]")
        assert await used(gate) == [
            (upstream, model, "exact", True)
            for upstream, model in (("llama", "smollm2"), ("ollama", "qwen3:0.6b"), ("openai", "gpt-4o"))
            for _ in range(2)
        ]


async def test_a_form_goes_to_the_upstream_of_the_model_in_it(
    llama: str, tmp_path: Path, migrated_file: Path
) -> None:
    ollama, openai = Stub("qwen3:0.6b"), Stub("whisper-1")
    async with beside(llama, tmp_path, migrated_file, ollama=ollama, openai=openai) as (gate, http):
        files = {"file": ("a.wav", b"RIFF" + bytes(2000), "audio/wav")}
        answer = await http.post("/v1/audio/transcriptions", data={"model": "whisper-1"}, files=files)
        assert (answer.status_code, answer.json()["text"]) == (200, "Hello")
        ((path, body),) = openai.asked
        assert path == "/v1/audio/transcriptions"
        assert b"RIFF" + bytes(2000) in body
        unknown = await http.post("/v1/audio/transcriptions", data={"model": "nobody"}, files=files)
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
        assert [upstream for upstream, *_ in await used(gate)] == ["openai"]
