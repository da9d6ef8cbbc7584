"""What was used is recorded, however an answer ends: whole, left by its client, given up by its backend."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gates import Running, running
from playbook import Told, play
from servers import PATIENCE, Peer, connect
from stores import Clock

from llmgate.backends.dialect import DIALECTS
from llmgate.ledger.model import Outcome
from llmgate.middleware import Accounting
from llmgate.proxy.asgi_upstream import AsgiUpstream
from llmgate.proxy.streaming import ProxiedRequest
from llmgate.proxy.upstreams import Upstream
from llmgate.usage.model import Reading

CHAT = {"model": "small", "messages": [{"role": "user", "content": "hello"}], "stream": True}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def event(fields: object) -> bytes:
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


def delta(text: str, **more: object) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more})


def usage(taken: int, made: int) -> dict[str, object]:
    return {"usage": {"prompt_tokens": taken, "completion_tokens": made}}


class Streaming:
    """A backend that streams `before`, waits until its client has left the gate, and goes on with `after`."""

    def __init__(self, before: list[bytes], after: list[bytes]) -> None:
        self.before, self.after = before, after
        self.left = asyncio.Event()
        self.heads: list[bytes] = []
        self.aborted = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        head, _ = await peer.request()
        if b"/models" in head.split(b"\r\n", 1)[0]:
            await peer.answer(b'{"data":[]}', headers=b"content-type: application/json\r\n")
            return
        self.heads.append(head)
        await peer.send(HEAD)
        for piece in self.before:
            await peer.chunk(piece)
        await self.left.wait()
        for piece in self.after:
            await peer.chunk(piece)
        if self.after:
            await peer.chunk(b"")
        else:
            await peer.gone()
            self.aborted.set()


def message(**counts: int) -> bytes:
    return event({"type": "message_start", "message": {"usage": counts}})


@pytest.fixture
def of_gate(tmp_path: Path, sqlite_url: str) -> tuple[Path, Path]:
    """The folder and the store of a gate."""
    return tmp_path, Path(sqlite_url.removeprefix("sqlite:///"))


def gate(tmp_path: Path, store: Path, backend: Streaming, dialect: str, **settings: object):
    return running(tmp_path, store, backend, settings={"dialect": dialect, **settings})


@pytest.fixture
def noticed(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the gate has noticed that its client has left."""
    event, await_disconnect = asyncio.Event(), ProxiedRequest._await_disconnect

    async def watched(request: ProxiedRequest) -> None:
        await await_disconnect(request)
        event.set()

    monkeypatch.setattr(ProxiedRequest, "_await_disconnect", watched)
    return event


async def leave(served: Running, backend: Streaming, path: str, noticed: asyncio.Event) -> None:
    """Ask, read up to "last", and go."""
    async with connect(served.url) as client:
        await client.send(served.request(json.dumps(CHAT).encode(), path=path))
        await client.until(b"last")
        client.close()
    async with asyncio.timeout(PATIENCE):
        await noticed.wait()
    backend.left.set()
    await served.quiet()


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        # thoughts are in no chunk: the last chunk of 3, and the count behind it
        (
            "/v1/chat/completions",
            [delta("a"), delta("b"), delta("last")],
            [event({"choices": [], **usage(11, 5000)}), DONE],
        ),
        (
            "/v1/messages",
            [message(input_tokens=11, output_tokens=1), event({"type": "x", "delta": {"text": "last"}})],
            [
                event({"type": "message_delta", "usage": {"output_tokens": 5000}}),
                event({"type": "message_stop"}),
            ],
        ),
    ],
)
async def test_who_leaves_just_before_the_count_is_charged_the_count(
    of_gate: tuple[Path, Path], noticed: asyncio.Event, path: str, before: list[bytes], after: list[bytes]
) -> None:
    """The stream is read on for a moment, to the count, and its client is an aborted one all the same."""
    backend = Streaming(before, after)
    async with gate(*of_gate, backend, "openai") as served:
        await leave(served, backend, path, noticed)
        assert await served.records() == [("aborted", 11, 5000, "exact")]


@pytest.mark.parametrize(
    ("dialect", "before", "expected"),
    [
        (
            "vllm",
            [delta(text, **usage(11, made)) for made, text in enumerate(["a", "b", "last"], 1)],
            ("aborted", 11, 3, "partial"),
        ),
        (
            "llama_server",
            [
                delta(text, timings={"prompt_n": 11, "cache_n": 0, "predicted_n": made})
                for made, text in enumerate(["a", "b", "last"], 1)
            ],
            ("aborted", 11, 3, "partial"),
        ),
        ("llama_cpp_python", [delta("a"), delta("b"), delta("last")], ("aborted", 22, 3, "estimated")),
        ("ollama", [delta("a"), delta("b"), delta("last")], ("aborted", 22, 3, "estimated")),
    ],
)
async def test_where_the_count_is_known_or_will_not_come_the_backend_is_stopped_at_once(
    of_gate: tuple[Path, Path],
    noticed: asyncio.Event,
    dialect: str,
    before: list[bytes],
    expected: tuple[object, ...],
) -> None:
    """vLLM and llama.cpp count while they stream; for llama-cpp-python and Ollama a chunk is a token."""
    backend = Streaming(before, [])
    async with gate(*of_gate, backend, dialect) as served:
        await leave(served, backend, "/v1/chat/completions", noticed)
        async with asyncio.timeout(DIALECTS["openai"].drain):  # not read on
            await backend.aborted.wait()
        assert await served.records() == [expected]


async def test_an_engine_that_dies_under_a_stream_is_seen(of_gate: tuple[Path, Path]) -> None:
    """vLLM says so in an event, then [DONE], and all with status 200 (vllm/mw/engine_death_stream.txt)."""
    error = event({"error": {"message": "EngineCore encountered an issue", "code": 500}})
    backend = Streaming([delta("a", **usage(17, 244)), error, DONE], [b": \n\n"])
    backend.left.set()
    async with gate(*of_gate, backend, "vllm") as served:
        async with connect(served.url) as client:
            await client.send(served.request(json.dumps(CHAT).encode()))
            await client.until(b"0\r\n\r\n")
        await served.quiet()
        assert await served.records() == [("aborted", 17, 244, "partial")]
        count = [
            sample
            for metric in served.runtime.instruments.registry.collect()
            for sample in metric.samples
            if sample.name == "llmgate_requests_total" and sample.labels["route"] == "/v1"
        ]
        assert [(sample.labels["status"], sample.value) for sample in count] == [("cut", 1.0)]


async def test_an_error_before_the_first_token_is_a_failure_and_free(of_gate: tuple[Path, Path]) -> None:
    backend = Streaming([event({"error": {"message": "no"}}), DONE], [b": \n\n"])
    backend.left.set()
    async with gate(*of_gate, backend, "vllm") as served:
        async with connect(served.url) as client:
            await client.send(served.request(json.dumps(CHAT).encode()))
            await client.until(b"0\r\n\r\n")
        await served.quiet()
        assert await served.records() == [("failed", 0, 0, "partial")]


async def test_backends_are_asked_for_plain_answers(of_gate: tuple[Path, Path]) -> None:
    """Whatever the client reads: no header at all would mean that anything goes (RFC 9110 12.5.3)."""
    backend = Streaming([delta("a"), DONE], [b": \n\n"])
    backend.left.set()
    async with gate(*of_gate, backend, "openai") as served, connect(served.url) as client:
        await client.send(served.request(json.dumps(CHAT).encode(), headers="accept-encoding: gzip\r\n"))
        await client.until(b"0\r\n\r\n")
    assert backend.heads[0].lower().count(b"accept-encoding: identity\r\n") == 1
    assert b"gzip" not in backend.heads[0]


class Books:
    """A ledger that remembers how each charge was settled."""

    def __init__(self) -> None:
        self.ends: list[tuple[Reading, Outcome]] = []

    @property
    def settled(self) -> bool:
        return bool(self.ends)

    def charge(self, *_: Any, **__: Any) -> "Books":
        return self

    def open(self) -> None:
        """The slot."""

    def note(self, reading: Reading) -> None:
        """Of no use here."""

    def end(self, reading: Reading, *, outcome: Outcome) -> None:
        self.ends.append((reading, outcome))

    async def __aenter__(self) -> "Books":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing more."""


async def test_inside_vllm_a_plain_request_that_is_left_was_aborted_and_made_nothing_that_came() -> None:
    """The app hears that the client has left, gives up, and answers 200 with `null`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        headers = [(b"content-type", b"application/json"), (b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"null", "more_body": False})

    assert await made_when_left(app, Clock(1000.0)) == (0, "aborted")


@pytest.mark.parametrize(
    ("fields", "made"),
    [({}, 30_000), ({"max_tokens": 50}, 50), ({"max_tokens": 50, "n": 2}, 100), ({"max_tokens": -1}, 30_000)],
)
async def test_a_plain_answer_that_its_client_leaves_costs_what_may_have_been_made_of_it(
    fields: dict[str, object], made: int
) -> None:
    """Thirty seconds of an engine's work, of which nothing was seen: leaving is no cheaper than staying."""
    clock = Clock(1000.0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        clock.pass_by(30)

    assert await made_when_left(app, clock, **fields) == (made, "aborted")


async def test_a_plain_answer_that_comes_a_moment_after_its_client_has_left_costs_what_it_says() -> None:
    clock = Clock(1000.0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        clock.pass_by(30)
        body = json.dumps({"choices": [], **usage(11, 7)}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    assert await made_when_left(app, clock) == (7, "aborted")


async def made_when_left(app: Any, clock: Clock, **fields: object) -> tuple[int, Outcome]:
    """The output that a plain request is charged whose client leaves at once, and how it ended."""
    books, dialect = Books(), replace(DIALECTS["vllm"], plain_drain=0.0)  # no test waits
    upstream = Upstream("vllm", ["http://app.invalid"], engine=None)  # type: ignore[arg-type]
    inner = AsgiUpstream(app, upstream, timer=clock)
    layer = Accounting(inner, ledger=books, dialect=dialect, timer=clock)  # type: ignore[arg-type]
    body = json.dumps({**CHAT, "stream": False, **fields}).encode()
    await play(Leaving(layer), "POST", "/v1/chat/completions", body=body, told=Told())
    ((reading, outcome),) = books.ends
    return reading.usage.output_tokens, outcome


class Waiting:
    """A backend that answers whole, once its client has left the gate; never where it has no `answer`."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.asked, self.left, self.aborted = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        self.asked.set()
        if self.answer is None:
            await peer.gone()
            self.aborted.set()
        else:
            await self.left.wait()
            await peer.answer(self.answer, headers=b"content-type: application/json\r\n")


async def leave_plain(served: Running, backend: Waiting, noticed: asyncio.Event) -> None:
    async with connect(served.url) as client:
        await client.send(served.request(json.dumps({**CHAT, "stream": False, "max_tokens": 2}).encode()))
        await backend.asked.wait()
        client.close()
    async with asyncio.timeout(PATIENCE):
        await noticed.wait()
    backend.left.set()
    await served.quiet()


async def test_a_plain_answer_that_has_not_begun_is_waited_for_when_its_client_leaves(
    of_gate: tuple[Path, Path], noticed: asyncio.Event
) -> None:
    """To its count, for a moment."""
    backend = Waiting(json.dumps({"choices": [], **usage(11, 900)}).encode())
    async with gate(*of_gate, backend, "vllm") as served:
        await leave_plain(served, backend, noticed)
        assert await served.records() == [("aborted", 11, 900, "exact")]


async def test_a_backend_that_breaks_off_after_its_client_has_left_has_failed_and_costs_nothing(
    of_gate: tuple[Path, Path], noticed: asyncio.Event
) -> None:
    backend = Waiting(None)

    async def hangs_up(peer: Peer) -> None:
        await peer.request()
        backend.asked.set()
        await backend.left.wait()

    async with running(*of_gate, hangs_up, settings={"dialect": "vllm"}) as served:
        await leave_plain(served, backend, noticed)
        assert [(outcome, output) for outcome, _, output, _ in await served.records()] == [("failed", 0)]


async def test_a_runner_that_is_stopped_by_nothing_else_is_stopped_at_once(
    of_gate: tuple[Path, Path], noticed: asyncio.Event
) -> None:
    """Its text is charged by the time that has passed, up to the request's limit."""
    backend = Waiting(None)
    async with gate(*of_gate, backend, "ollama") as served:  # type: ignore[arg-type]
        await leave_plain(served, backend, noticed)
        async with asyncio.timeout(DIALECTS["openai"].plain_drain):
            await backend.aborted.wait()
        ((outcome, _, output, certainty),) = await served.records()
        assert (outcome, output, certainty) == ("aborted", 2, "estimated")


class Leaving:
    """A client that leaves after its request."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = False

        async def heard() -> Any:
            nonlocal asked
            if not asked:
                asked = True
                return await receive()
            return {"type": "http.disconnect"}

        await self.app(scope, heard, send)


async def test_a_slash_at_the_end_is_the_same_endpoint(of_gate: tuple[Path, Path]) -> None:
    """It is let through as the same operation, and counted."""
    backend = Streaming([delta("a", **usage(5, 1)), event({"choices": [], **usage(5, 1)}), DONE], [b": \n\n"])
    backend.left.set()
    async with gate(*of_gate, backend, "vllm") as served:
        async with connect(served.url) as client:
            await client.send(served.request(json.dumps(CHAT).encode(), path="/v1/chat/completions/"))
            await client.until(b"0\r\n\r\n")
        await served.quiet()
        assert await served.records() == [("finished", 5, 1, "exact")]


async def test_an_estimate_keeps_to_the_limit_that_the_gate_has_written(
    of_gate: tuple[Path, Path], noticed: asyncio.Event
) -> None:
    """Forty bytes would be ten tokens, and the backend was told to stop at three."""
    backend = Streaming([delta("antidisestablishmentarianism "), delta("at the last")], [])
    async with gate(*of_gate, backend, "llama_cpp_python", max_output_tokens=3) as served:
        await leave(served, backend, "/v1/chat/completions", noticed)
        (record,) = await served.records()
        assert (record[0], record[2], record[3]) == ("aborted", 3, "estimated")


@pytest.mark.parametrize(("dialect", "output"), [("openai", 6000), ("vllm", 0)])
async def test_who_leaves_while_a_model_thinks_unseen_pays_for_the_time(dialect: str, output: int) -> None:
    """A minute of thoughts, of which no chunk tells; the minute before the head is nobody's."""
    clock = Clock(1000.0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        clock.pass_by(60)
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": delta(""), "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        clock.pass_by(60)

    books = Books()
    inner = AsgiUpstream(app, Upstream("u", ["http://app.invalid"], engine=None))  # type: ignore[arg-type]
    stopped = replace(DIALECTS[dialect], drain=0.0)  # no test waits
    layer = Accounting(inner, ledger=books, dialect=stopped, timer=clock)  # type: ignore[arg-type]
    await play(Leaving(layer), "POST", "/v1/chat/completions", body=json.dumps(CHAT).encode())
    ((reading, outcome),) = books.ends
    assert (reading.usage.output_tokens, outcome) == (output, "aborted")
