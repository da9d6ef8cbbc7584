"""Several upstreams behind one path: the model decides, and what happens when its upstream does not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copy
from typing import Any

import httpx
import msgspec
import pytest
from gates import Running, running
from servers import refused_url, serve
from sqlalchemy import select
from starlette.types import Message, Receive, Scope, Send
from stores import migrated_file

from llmgate.exchange import exchange_of, read_body
from llmgate.middleware import Accounting, Models
from llmgate.store.schema import usage

__all__ = ["migrated_file"]

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}


@dataclass
class Backend:
    """Serves `models` and keeps what it was asked for; `refuses` has the answers that come first."""

    models: list[str]
    refuses: list[tuple[int, bytes]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, 1 << 20)
        status, answer = (
            200,
            msgspec.json.encode({"object": "list", "data": [self.card(m) for m in self.models]}),
        )
        if scope["path"].endswith("/tokenize"):
            answer = b'{"count":3}'
        elif scope["method"] == "POST":
            request = msgspec.json.decode(body)
            self.asked.append(request)
            counted = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
            choice = {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello"},
                "finish_reason": "stop",
            }
            answer = msgspec.json.encode({"model": request["model"], "choices": [choice], "usage": counted})
            if self.refuses:
                status, answer = self.refuses.pop(0)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    @staticmethod
    def card(model: str) -> dict[str, Any]:
        return {"id": model, "object": "model", "created": 1, "owned_by": "somebody", "max_model_len": 4096}


@dataclass
class Routed:
    """A gate before `backends`, and a client of it."""

    gate: Running
    http: httpx.AsyncClient
    backends: dict[str, Backend]

    async def chat(self, model: str | None, **more: Any) -> httpx.Response:
        body = {**CHAT, **more} if model is None else {"model": model, **CHAT, **more}
        return await self.http.post("/v1/chat/completions", json=body)

    async def records(self) -> list[tuple[str, str, str]]:
        columns = usage.c["upstream", "model", "outcome"]
        await self.gate.runtime.store.flush()
        async with self.gate.runtime.store.connect() as db:
            return [tuple(row) for row in await db.execute(select(*columns).order_by(usage.c.at))]


@asynccontextmanager
async def routed(
    tmp_path: Path,
    migrated_file: Path,
    backends: dict[str, Backend],
    *,
    down: tuple[str, ...] = (),
    **tables: Any,
) -> AsyncIterator[Routed]:
    async with AsyncExitStack() as stack:
        upstreams = {}
        for name, backend in backends.items():
            url = await refused_url() if name in down else await stack.enter_async_context(serve(backend))
            dialect = "openai" if name == "openai" else "vllm"
            upstreams[name] = {
                "urls": [url],
                "dialect": dialect,
                "context_length": 4096,
                "health": {"enabled": False},
            }
        tables = {"routes": [{"path": "/v1", "upstreams": list(backends)}], **tables}
        store = Path(copy(migrated_file, tmp_path / "gate.db"))
        gate = await stack.enter_async_context(running(tmp_path, store, upstreams=upstreams, **tables))
        for upstream in gate.gate.services.upstreams.values():
            upstream.lists_models({model: Backend.card(model) for model in backends[upstream.name].models})
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=gate.url, headers={"authorization": f"Bearer {gate.key}"}, trust_env=False
            )
        )
        yield Routed(gate, http, backends)


def three() -> dict[str, Backend]:
    return {"small": Backend(["tiny"]), "large": Backend(["huge"]), "openai": Backend(["gpt-4o"])}


@pytest.fixture
def place(tmp_path: Path, migrated_file: Path) -> tuple[Path, Path]:
    return tmp_path, migrated_file


async def test_a_request_goes_to_the_upstream_that_lists_its_model(place: tuple[Path, Path]) -> None:
    async with routed(*place, three()) as gate:
        answer = await gate.chat("huge")
        assert (answer.status_code, answer.headers["x-gate-model"]) == (200, "huge")
        assert [len(backend.asked) for backend in gate.backends.values()] == [0, 1, 0]
        assert await gate.records() == [("large", "huge", "finished")]


async def test_an_unknown_model_is_openais_404_with_what_there_is(place: tuple[Path, Path]) -> None:
    async with routed(*place, three()) as gate:
        answer = await gate.chat("gpt-5")
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
        assert error["message"] == "The model `gpt-5` does not exist. The models here: tiny, huge, gpt-4o."
        assert (await gate.chat(None)).status_code == 400


async def test_one_list_has_the_models_of_all_upstreams_in_openais_shape(place: tuple[Path, Path]) -> None:
    models = [{"name": "chat", "aliases": ["gpt-4"], "targets": [{"upstream": "large", "model": "huge"}]}]
    async with routed(*place, three(), models=models) as gate:
        listed = (await gate.http.get("/v1/models")).json()
        assert [card["id"] for card in listed["data"]] == ["chat", "tiny", "gpt-4o"]
        assert listed["data"][0] == {**Backend.card("huge"), "id": "chat"}
        assert (await gate.http.get("/v1/models/tiny")).json() == Backend.card("tiny")
        assert (await gate.http.get("/v1/models/nothing")).status_code == 404


async def test_the_name_that_clients_use_becomes_the_name_there(place: tuple[Path, Path]) -> None:
    models = [{"name": "chat", "aliases": ["gpt-4"], "targets": [{"upstream": "large", "model": "huge"}]}]
    async with routed(*place, three(), models=models) as gate:
        answer = await gate.chat("gpt-4")
        assert answer.headers["x-gate-model"] == "huge"
        assert gate.backends["large"].asked[0]["model"] == "huge"


FALLING_BACK = [
    {
        "name": "chat",
        "targets": [{"upstream": "large", "model": "huge"}],
        "fallbacks": [{"upstream": "openai", "model": "gpt-4o"}],
        "fallback_on": ["down", "busy", "context"],
    }
]


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param((429, b'{"error":{}}'), id="busy"),
        pytest.param((503, b"{}"), id="overloaded"),
        pytest.param((502, b"{}"), id="broken"),
        pytest.param((400, b'{"error":{"code":"context_length_exceeded"}}'), id="too long"),
    ],
)
async def test_a_fallback_answers_before_the_first_byte(
    place: tuple[Path, Path], refusal: tuple[int, bytes]
) -> None:
    backends = three()
    backends["large"].refuses = [refusal]
    async with routed(*place, backends, models=FALLING_BACK) as gate:
        answer = await gate.chat("chat")
        assert (answer.status_code, answer.headers["x-gate-model"]) == (200, "gpt-4o")
        assert backends["openai"].asked[0]["model"] == "gpt-4o"
        assert await gate.records() == [("openai", "gpt-4o", "finished")]


async def test_a_fallback_answers_for_an_upstream_that_is_not_there(place: tuple[Path, Path]) -> None:
    async with routed(*place, three(), models=FALLING_BACK, down=("large",)) as gate:
        assert (await gate.chat("chat")).headers["x-gate-model"] == "gpt-4o"


async def test_another_error_is_the_callers_and_passes_as_it_is(place: tuple[Path, Path]) -> None:
    backends = three()
    backends["large"].refuses = [(400, b'{"error":{"message":"no messages"}}')]
    async with routed(*place, backends, models=FALLING_BACK) as gate:
        answer = await gate.chat("chat")
        assert (answer.status_code, answer.content) == (400, b'{"error":{"message":"no messages"}}')
        assert backends["openai"].asked == []


async def test_a_limit_has_the_name_that_each_backend_obeys(place: tuple[Path, Path]) -> None:
    """What the gate writes into a request is written anew for a fallback of another dialect."""
    backends = three()
    backends["large"].refuses = [(503, b"{}")]
    quotas = [{"per": "user", "tokens": 300}]
    async with routed(*place, backends, models=FALLING_BACK, quotas=quotas) as gate:
        assert (await gate.chat("chat", stream=False)).status_code == 200
        first, second = backends["large"].asked[0], backends["openai"].asked[0]
        assert [name for name in first if "max" in name] == ["max_tokens"]
        assert [name for name in second if "max" in name] == ["max_completion_tokens"]
        assert first["max_tokens"] == second["max_completion_tokens"]


async def test_stream_options_are_those_that_the_answering_backend_knows(place: tuple[Path, Path]) -> None:
    backends = three()
    backends["large"].refuses = [(503, b"{}")]
    async with routed(*place, backends, models=FALLING_BACK) as gate:
        await gate.chat("chat", stream=True)
        assert backends["large"].asked[0]["stream_options"] == {
            "include_usage": True,
            "continuous_usage_stats": True,
        }
        assert backends["openai"].asked[0]["stream_options"] == {"include_usage": True}


async def test_a_price_follows_what_answered_or_what_was_asked_for(place: tuple[Path, Path]) -> None:
    prices = {
        "gpt-4o": {"input": 1.0, "output": 1.0},
        "huge": {"input": 0.0, "output": 0.0},
        "chat": {"input": 9.0, "output": 0.0},
    }
    backends = three()
    for charge, expected in (("answered", ("gpt-4o", 7)), ("asked", ("chat", 27))):
        backends["large"].refuses = [(503, b"{}")]
        routes = [{"path": "/v1", "upstreams": list(backends), "charge": charge}]
        async with routed(*place, backends, models=FALLING_BACK, prices=prices, routes=routes) as gate:
            await gate.chat("chat")
            await gate.gate.runtime.store.flush()
            async with gate.gate.runtime.store.connect() as db:
                assert [tuple(row) for row in await db.execute(select(*usage.c["model", "cost"]))] == [
                    expected
                ]


async def test_a_name_that_has_no_price_is_no_way_around_a_budget(place: tuple[Path, Path]) -> None:
    """A backend with one model serves it under any name."""
    prices = {"tiny": {"input": 1.0, "output": 1.0}}
    routes = [{"path": "/v1", "upstream": "small"}]
    async with routed(*place, {"small": Backend(["tiny"])}, prices=prices, routes=routes) as gate:
        assert (await gate.chat("tiny")).status_code == 200
        refused = await gate.chat("free-lunch")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
        assert len(gate.backends["small"].asked) == 1


async def test_a_name_that_nobody_knows_is_no_way_around_a_quota_of_one_model(
    place: tuple[Path, Path],
) -> None:
    quotas = [{"per": "user", "tokens": 1_000, "model": "tiny"}]
    routes = [{"path": "/v1", "upstream": "small"}]
    async with routed(*place, {"small": Backend(["tiny"])}, quotas=quotas, routes=routes) as gate:
        assert (await gate.chat("tiny")).status_code == 200
        assert (await gate.chat("free-lunch")).status_code == 404


class Redact:
    """A middleware of somebody else: reads the body itself, and may change it."""

    def __init__(self, app: Any, *, word: bytes = b"secret") -> None:
        self.app = app
        self._word = word

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await read_body(receive, 1 << 20)).replace(self._word, b"*" * len(self._word))

        async def again() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send)


@pytest.mark.parametrize("where", ["outside", "between", "inside"])
async def test_a_foreign_middleware_that_reads_the_body_works_at_any_place(
    where: str, tmp_path: Path, migrated_file: Path
) -> None:
    """What it sends on is what is counted and what goes up; what the layers around it change stays changed."""
    seen: list[bytes] = []

    async def backend(scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, 1 << 20)
        seen.append(body)
        assert dict(scope["headers"])[b"content-length"] == b"%d" % len(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    store = Path(copy(migrated_file, tmp_path / "gate.db"))
    async with running(tmp_path, store) as gate:
        ledger = gate.runtime.ledger
        dialect = gate.gate.services.upstreams["vllm"].dialect
        aliases = {"alias": "real"}
        if where == "outside":
            app: Any = Redact(Models(Accounting(backend, ledger=ledger, dialect=dialect), aliases=aliases))
        elif where == "between":
            app = Models(Redact(Accounting(backend, ledger=ledger, dialect=dialect)), aliases=aliases)
        else:
            app = Models(Accounting(Redact(backend), ledger=ledger, dialect=dialect), aliases=aliases)
        body = b'{"model":"alias","stream":true,"messages":[{"role":"user","content":"secret"}]}'
        scope: Scope = {
            "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))],
        }  # fmt: skip
        sent = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            assert sent, "nobody asks the server twice for a body that it has sent"
            return sent.pop()

        async def send(_: Message) -> None:
            return

        await app(scope, receive, send)
        (got,) = [msgspec.json.decode(each) for each in seen]
        assert got["model"] == "real"
        assert got["messages"][0]["content"] == "******"
        assert got["stream_options"]["include_usage"] is True
        assert exchange_of(scope).model == "real"
