"""The whole gate around an app of FastAPI, as one would put it there: on a real socket, with a lifespan."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from servers import connect, serve, until
from starlette.types import ASGIApp, Receive, Scope, Send

from llmgate.config import load
from llmgate.gate.embed import Gate
from llmgate.identity import Identity
from llmgate.store import Store, migrate

GATE = """
[gate]
access_log = false
[store]
url = "sqlite:///gate.db"
[upstreams.own]
urls = ["app:"]
dialect = "vllm"
api_key = "the-apps-own"
health = { interval = 0.01 }
models = { small = "tiny" }
[[routes]]
path = "/v1"
upstream = "own"
[[quotas]]
per = "user"
tokens = 100
"""
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


class DynamicUpstream:
    """What stands for vLLM: an app that reports usage, and remembers what it was asked."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.bodies: list[Any] = []
        self.cut = 0
        self.fails = False
        self.steps: list[str] = []
        self.go_on = asyncio.Event()
        self.app = FastAPI(lifespan=self._lifespan)
        self.app.post("/v1/chat/completions")(self.chat)
        self.app.get("/v1/models")(self.models)
        self.app.get("/health")(self.health)
        self.app.get("/metrics")(self.metrics)
        self.app.post("/tokenize")(self.tokenize)

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        app.state.engine = self
        self.steps.append("started")
        yield
        self.steps.append("stopped")

    async def chat(self, request: Request) -> Any:
        self.scopes.append(request.scope)
        self.bodies.append(await request.json())
        if self.fails:
            raise RuntimeError("broken")
        if self.bodies[-1].get("stream"):
            return StreamingResponse(self._chunks(), media_type="text/event-stream")
        return {"object": "chat.completion", "model": "tiny", "choices": [], "usage": USAGE}

    async def _chunks(self) -> AsyncIterator[str]:
        try:
            yield 'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
            await self.go_on.wait()
            yield 'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}\n\ndata: [DONE]\n\n'
        except asyncio.CancelledError:
            self.cut += 1
            raise

    async def models(self) -> Any:
        return {"object": "list", "data": [{"id": "tiny", "max_model_len": 50}]}

    async def health(self, request: Request) -> Any:
        """Works only where the scope is the server's: as vLLM's, it looks into the app's state."""
        assert request.app.state.engine is self
        self.steps.append("asked for its health")
        return JSONResponse({"well": True})

    async def metrics(self) -> Any:
        return PlainTextResponse("# TYPE app_steps counter\napp_steps_total 3.0\n")

    async def tokenize(self) -> Any:
        return {"count": 5}


@asynccontextmanager
async def served(app: ASGIApp, key: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """A client of `app` on a real socket."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with serve(app) as url, httpx.AsyncClient(base_url=url, headers=headers) as client:
        yield client


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gate.toml"
    path.write_text(GATE)
    return path


@pytest.fixture
async def key(file: Path) -> str:
    """A key that was made as the command line makes them: by another process, on the same store."""
    url = load(file).store.url.reveal()
    await migrate(url)
    async with Store.open(url) as store:
        identity = Identity.over(store)
        user = await identity.users.register("ann", None)
        return (await identity.keys.create(user.id, "test"))[1]


def rewrite(file: Path, text: str = GATE, found: str = "", instead: str = "") -> None:
    file.write_text(text.replace(found, instead) if found else text)


def unasked(file: Path) -> None:
    """The app is not started in this test: its health would be bad."""
    rewrite(file, GATE, "health = { interval = 0.01 }", "health = { enabled = false }")


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], **fields}


async def test_a_request_reaches_the_app_without_the_callers_key(file: Path, key: str) -> None:
    """The app gets its own key, a request id, the model's real name, and learns who is asking."""
    backend = DynamicUpstream()
    async with served(Gate(backend.app, file), key) as client:
        answer = await client.post("/v1/chat/completions", json=chat(model="small"))
    assert answer.status_code == 200
    assert answer.json()["usage"] == USAGE
    headers = dict(backend.scopes[0]["headers"])
    assert headers[b"authorization"] == b"Bearer the-apps-own"
    assert headers[b"x-request-id"].decode() == answer.headers["x-request-id"]
    assert headers[b"host"] == answer.request.url.netloc
    assert backend.bodies[0]["model"] == "tiny"
    assert backend.scopes[0]["llmgate"].principal.username == "ann"
    assert key.encode() not in b"".join(headers.values())


async def test_without_a_key_nothing_reaches_the_app(file: Path, key: str) -> None:
    """It is the outermost: the app behind it needs no authentication of its own."""
    backend = DynamicUpstream()
    async with served(Gate(backend.app, file)) as client:
        assert (await client.post("/v1/chat/completions", json=chat())).status_code == 401
    assert backend.bodies == []


@pytest.mark.parametrize("path", ["/tokenize", "/docs", "/openapi.json", "/v1/chat"])
async def test_what_no_route_names_is_refused(path: str, file: Path, key: str) -> None:
    """Whatever else the app has: vLLM has a dozen routes that it leaves open."""
    async with served(Gate(DynamicUpstream().app, file), key) as client:
        assert [(await client.request(method, path)).status_code for method in ("GET", "POST")] == [404, 404]


async def test_what_is_used_is_charged_and_the_limit_is_hard(file: Path, key: str) -> None:
    """The app's own report counts; max_tokens is lowered to what is left."""
    backend = DynamicUpstream()
    async with served(Gate(backend.app, file), key) as client:
        for _ in range(8):
            assert (await client.post("/v1/chat/completions", json=chat(max_tokens=1))).status_code == 200
        last = await client.post("/v1/chat/completions", json=chat())
        spent = await client.post("/v1/chat/completions", json=chat(max_tokens=1))
    assert last.status_code == 429
    assert spent.json()["error"]["code"] == "insufficient_quota"
    assert len(backend.bodies) == 8


async def test_a_stream_is_forwarded_as_it_comes_and_stripped_of_what_was_not_asked_for(
    file: Path, key: str
) -> None:
    """The gate asks the app for usage, for itself."""
    backend = DynamicUpstream()
    async with served(Gate(backend.app, file), key) as client:
        request = client.stream("POST", "/v1/chat/completions", json=chat(stream=True, max_tokens=7))
        async with request as answer:
            pieces = answer.aiter_text()
            first = await anext(pieces)
            backend.go_on.set()
            rest = "".join([piece async for piece in pieces])
    assert '"content":"Hi"' in first
    assert rest == "data: [DONE]\n\n"
    assert backend.bodies[0]["stream_options"]["include_usage"] is True


async def test_the_app_hears_at_once_when_the_client_leaves(file: Path, key: str) -> None:
    """From its own server, as if nothing stood in between."""
    backend = DynamicUpstream()
    async with serve(Gate(backend.app, file)) as url, connect(url) as client:
        body = b'{"model":"tiny","messages":[],"stream":true,"max_tokens":7}'
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        await client.send(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        await client.until(b'"Hi"')
        client.close()
        await until(lambda: backend.cut)


async def test_an_app_that_fails_costs_nothing(file: Path, key: str) -> None:
    """As a backend that answers 500; what it lets out is for its log, not for its clients."""
    backend = DynamicUpstream()
    backend.fails = True
    async with served(Gate(backend.app, file), key) as client:
        failed = await client.post("/v1/chat/completions", json=chat(max_tokens=95))
        assert (failed.status_code, "broken" in failed.text) == (500, False)
        backend.fails = False
        assert (await client.post("/v1/chat/completions", json=chat(max_tokens=95))).status_code == 200


async def test_metrics_are_the_apps_and_the_gates_in_one_answer(file: Path, key: str) -> None:
    """So that a Prometheus that scrapes vLLM sees both, in the place that it knows."""
    async with served(Gate(DynamicUpstream().app, file), key) as client:
        await client.post("/v1/chat/completions", json=chat())
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert "app_steps_total 3.0" in lines
    assert any(line.startswith("llmgate_requests_total{") and 'upstream="own"' in line for line in lines)


async def test_the_apps_health_stays_open_and_the_gate_looks_at_it(file: Path) -> None:
    """Its probes bring along what the app finds in the scopes of its server."""
    backend = DynamicUpstream()
    async with served(Gate(backend.app, file)) as client:
        assert (await client.get("/health")).json() == {"well": True}
        asked = len(backend.steps)
        await until(lambda: len(backend.steps) > asked)
        assert (await client.get("/readyz")).status_code == 200


async def test_it_works_as_a_middleware_that_is_added(file: Path, key: str, monkeypatch: Any) -> None:
    """As vLLM adds it: the class alone, without arguments; the environment names the file."""
    monkeypatch.setenv("LLMGATE_CONFIG", str(file))
    backend = DynamicUpstream()
    backend.app.add_middleware(Gate)
    async with served(backend.app, key) as client:
        assert (await client.post("/v1/chat/completions", json=chat())).status_code == 200
        assert (await client.get("/health")).status_code == 200
    assert backend.steps[0] == "started"
    assert "stopped" in backend.steps


async def test_without_a_lifespan_the_first_request_opens_the_gate(file: Path, key: str) -> None:
    """Once, however many come at the same time; and a client that leaves does not stop it."""
    unasked(file)
    gate = Gate(DynamicUpstream().app, file)

    async def no_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "this server knows no lifespan"
        await gate(scope, receive, send)

    async with serve(no_lifespan) as url, connect(url) as hasty:
        await hasty.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        hasty.reset()
        async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}"}) as client:
            asked = (client.post("/v1/chat/completions", json=chat(max_tokens=1)) for _ in range(5))
            assert [answer.status_code for answer in await asyncio.gather(*asked)] == [200] * 5
    await gate._leave()


async def lived(app: ASGIApp) -> list[dict[str, Any]]:
    """What `app` says to a server that starts it and, if it starts, stops it."""
    said: list[dict[str, Any]] = []
    told = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(told)

    async def send(message: Any) -> None:
        said.append(message)

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    return said


@pytest.mark.parametrize(
    ("found", "instead", "problem"),
    [
        ('["app:"]', '["http://127.0.0.1:1"]', 'nothing leads to the app: write urls = ["app:"]'),
        ('path = "/v1"', 'path = "/v1"\nlisten = "127.0.0.1:1"', "routes[0].listen: 127.0.0.1:1: inside"),
        ('dialect = "vllm"', 'dialect = "vlm"', "upstreams.own.dialect"),
    ],
)
async def test_a_gate_that_cannot_be_opened_keeps_the_app_from_starting(
    found: str, instead: str, problem: str, file: Path
) -> None:
    """Said in the way that servers understand: uvicorn would serve on after an exception."""
    rewrite(file, GATE, found, instead)
    backend = DynamicUpstream()
    [message] = await lived(Gate(backend.app, file))
    assert message["type"] == "lifespan.startup.failed"
    assert problem in message["message"]
    assert backend.steps == []


async def test_without_a_file_it_says_how_to_name_one(monkeypatch: Any) -> None:
    """Nothing is guessed from the folder that a server happens to run in."""
    monkeypatch.delenv("LLMGATE_CONFIG", raising=False)
    [message] = await lived(Gate(DynamicUpstream().app))
    assert "LLMGATE_CONFIG: not set" in message["message"]


async def test_a_gate_that_cannot_be_opened_lets_no_request_in_and_tries_again(file: Path, key: str) -> None:
    """Where nobody starts it, each request is an attempt."""
    backend = DynamicUpstream()
    gate = Gate(backend.app, file)
    rewrite(file, "")

    async def no_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "this server knows no lifespan"
        await gate(scope, receive, send)

    async with served(no_lifespan, key) as client:
        assert (await client.post("/v1/chat/completions", json=chat())).status_code == 503
        assert backend.bodies == []
        unasked(file)
        assert (await client.post("/v1/chat/completions", json=chat())).status_code == 200
    await gate._leave()


async def test_the_gate_closes_after_the_app_and_before_the_server_hears_of_it(file: Path) -> None:
    """A server may end the process as soon as it hears that shutdown is complete."""
    backend = DynamicUpstream()
    gate = Gate(backend.app, file)
    open_at_the_end: list[bool] = []

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def look(message: Any) -> None:
            open_at_the_end.append(gate._stay is not None)
            await send(message)

        await gate(scope, receive, look)

    assert [message["type"] for message in await lived(watched)] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert open_at_the_end == [True, False]


async def test_processes_share_keys_and_quotas_through_the_store(file: Path, key: str) -> None:
    """Two API servers of one vLLM, each with a gate of its own: one limit for both."""
    first, second = DynamicUpstream(), DynamicUpstream()
    async with (
        served(Gate(first.app, file), key) as one,
        served(Gate(second.app, file), key) as other,
    ):
        statuses = []
        for client in [one, other] * 6:
            statuses.append((await client.post("/v1/chat/completions", json=chat(max_tokens=1))).status_code)
    assert statuses.count(200) == len(first.bodies) + len(second.bodies) == 8
    assert 429 in statuses
