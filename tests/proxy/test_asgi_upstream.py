"""What the app that the gate is put around gets to see, and what the gate asks of it."""

from typing import Any

import httpx
import pytest
from playbook import Told, play
from starlette.types import Message, Receive, Scope, Send

from llmgate.errors import AnswerCut, StoreError
from llmgate.proxy.asgi_upstream import ORIGIN, AsgiUpstream
from llmgate.proxy.engines.httptools_engine import HttptoolsEngine
from llmgate.proxy.upstreams import Upstream


def upstream(**settings: Any) -> Upstream:
    return Upstream("own", [ORIGIN], engine=HttptoolsEngine(), **settings)


class App:
    """Says hello, and keeps the scope it was asked in."""

    def __init__(self) -> None:
        self.scope: Scope = {}
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        await send({"type": "http.response.start", "status": 200, "headers": [(b"server", b"own")]})
        await send({"type": "http.response.body", "body": b"hello"})


async def test_the_answer_passes_as_it_is() -> None:
    """Message by message, without a copy."""
    told = await play(AsgiUpstream(App(), upstream()), "GET", "/v1/models")
    assert (told.status, told.body) == (200, b"hello")
    assert told.messages[0]["headers"] == [(b"server", b"own")]


async def test_credentials_go_and_framing_stays() -> None:
    """The request is still the one that came: its host and its length hold."""
    app = App()
    headers = {"authorization": "Bearer k", "x-api-key": "k", "cookie": "access_token=k; a=b", "host": "gate"}
    await play(
        AsgiUpstream(app, upstream(api_key="own")),
        "POST",
        "/v1/chat/completions",
        body=b"{}",
        headers=headers,
    )
    got = dict(app.scope["headers"])
    assert got[b"authorization"] == b"Bearer own"
    assert got[b"cookie"] == b"a=b"
    assert got[b"host"] == b"gate"
    assert got[b"x-request-id"].decode() == app.scope["llmgate"].id
    assert b"x-api-key" not in got


@pytest.mark.parametrize(
    ("strip", "put", "path", "seen"),
    [
        ("", "", "/v1/models", "/v1/models"),
        ("/llm", "/v1", "/llm/models", "/v1/models"),
        ("/llm", "/", "/llm/models", "/models"),
        ("/llm", "/", "/llm", "/"),
        ("/", "/v1", "/modèles", "/v1/modèles"),
    ],
)
async def test_the_path_is_the_upstreams(strip: str, put: str, path: str, seen: str) -> None:
    """As the relay would ask for it; the raw path says the same."""
    app = App()
    await play(AsgiUpstream(app, upstream(), strip_prefix=strip, upstream_path=put), "GET", path)
    assert app.scope["path"] == seen
    raw = app.scope.get("raw_path")
    assert raw is None or httpx.URL(f"http://a{raw.decode()}").path == seen
    assert app.scope["path_params"] == {}


async def test_it_is_counted_as_in_flight_however_it_ends() -> None:
    """For the metrics of upstreams, which know nothing of apps."""
    own = upstream()
    seen: list[int] = []

    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(own.replicas[0].in_flight)
        raise RuntimeError("broken")

    told = await play(AsgiUpstream(breaks, own), "GET", "/")
    assert (told.status, seen, own.replicas[0].in_flight) == (500, [1], 0)
    assert b"broken" not in told.body


async def test_an_app_that_fails_in_the_middle_cuts_its_answer() -> None:
    """Nothing is appended, and nothing is made to look finished."""

    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        await App()(scope, receive, send)
        raise RuntimeError("broken")

    told = Told()
    with pytest.raises(AnswerCut):
        await play(AsgiUpstream(breaks, upstream()), "GET", "/", told=told)
    assert (told.status, told.body) == (200, b"hello")


async def test_what_the_gate_raises_from_within_the_app_passes() -> None:
    """A layer above could not write its books: that is not the app's failure."""

    async def full(message: Message) -> None:
        raise StoreError("full")

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    with pytest.raises(StoreError):
        await AsgiUpstream(App(), upstream())(scope, play, full)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [200, 400])
async def test_the_gates_own_key_is_masked_in_what_the_app_answers(status: int) -> None:
    """Wherever its pieces are cut, in headers and in the middle of a stream."""
    key = "sk-its-own-key"

    async def quotes(scope: Scope, receive: Receive, send: Send) -> None:
        bearer = dict(scope["headers"])[b"authorization"]
        await send({"type": "http.response.start", "status": status, "headers": [(b"x-debug", bearer)]})
        for piece in (b"data: bad " + bearer[:12], bearer[12:] + b"\n\ndata: s"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    told = await play(AsgiUpstream(quotes, upstream(api_key=key)), "GET", "/v1/x")
    stars = b"*" * len(key)
    assert (told.status, told.body) == (status, b"data: bad Bearer " + stars + b"\n\ndata: s")
    assert told.messages[0]["headers"] == [(b"x-debug", b"Bearer " + stars)]


@pytest.mark.parametrize("status", [401, 403])
async def test_that_the_app_refuses_the_gates_own_key_is_not_the_callers_fault(status: int) -> None:
    async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b'{"error":"bad key sk-its-own-key"}'})

    told = await play(AsgiUpstream(refuses, upstream(api_key="sk-its-own-key")), "GET", "/v1/x")
    assert told.status == 502
    assert b"upstream_unauthorized" in told.body
    assert b"sk-its" not in told.body


async def test_no_answer_goes_past_the_gate() -> None:
    """By the extensions of ASGI that send files, trailers, or words for tests; hints may go."""
    app = App()
    names = ("pathsend", "zerocopysend", "trailers", "debug", "early_hint")
    extensions: dict[str, dict[str, object]] = {f"http.response.{name}": {} for name in names}

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        await AsgiUpstream(app, upstream())({**scope, "extensions": extensions}, receive, send)

    await play(outer, "GET", "/v1/x")
    assert list(app.scope["extensions"]) == ["http.response.early_hint"]
    assert len(extensions) == len(names), "the server's own table is as it was"
