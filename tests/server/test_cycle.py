"""Answers as they go out: framing, errors, and what an app is told while it waits."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .wire import GET, Wire, turns

START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]}


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(piece: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": piece, "more_body": more}


def saying(*messages: Message) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


async def answer(app: ASGIApp, request: bytes = GET) -> Wire:
    wire = Wire(app)
    wire.feed(request)
    await turns(10)
    return wire


HEAD = GET.replace(b"GET", b"HEAD")
OLD = GET.replace(b"1.1", b"1.0")
LENGTH = (b"content-length", b"2")


@pytest.mark.parametrize(
    ("request_", "messages", "said", "closed"),
    [
        (GET, [start(LENGTH), body(b"hi")], b"content-length: 2\r\n\r\nhi", ""),
        (GET, [start(), body(b"hi")], b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", ""),
        (GET, [start(), body(b"")], b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n", ""),
        (HEAD, [start(LENGTH), body(b"")], b"content-length: 2\r\n\r\n", ""),
        (HEAD, [start(), body(b"hi")], b"\r\n\r\n", ""),
        (OLD, [start(LENGTH), body(b"hi")], b"content-length: 2\r\nconnection: close\r\n\r\nhi", "closed"),
        (OLD, [start(), body(b"hi")], b"connection: close\r\n\r\nhi", "closed"),
        (GET, [start((b"connection", b"Close"), LENGTH), body(b"hi")], b"2\r\n\r\nhi", "closed"),
    ],
)
async def test_an_answer_that_is_there_is_framed_and_written_at_once(
    request_: bytes, messages: Iterable[Message], said: bytes, closed: str
) -> None:
    wire = await answer(saying(*messages), request_)
    [written] = wire.writes
    assert written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert written.removeprefix(b"HTTP/1.1 200 OK\r\n").endswith(said.removeprefix(b"\r\n"))
    assert wire.closed == closed


@pytest.mark.parametrize("status", [204, 304])
async def test_what_has_no_body_gets_none(status: int) -> None:
    wire = await answer(saying(start(status=status), body(b"surplus")))
    assert wire.said.endswith(b"\r\n\r\n")
    assert b"transfer-encoding" not in wire.said


async def test_each_piece_is_one_write_and_a_large_one_too() -> None:
    large = b"x" * 100_000
    pieces = [body(b"a", more=True), body(b"", more=True), body(large, more=True), body(b"b")]
    wire = await answer(saying(start(), *pieces))
    head, *rest = wire.writes
    assert head.endswith(b"\r\n\r\n1\r\na\r\n")
    assert [piece for piece in rest if piece] == [b"186a0\r\n" + large + b"\r\n", b"1\r\nb\r\n0\r\n\r\n"]


async def test_a_piece_that_is_pushed_is_written_before_that_returns() -> None:
    cycle: Any = None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal cycle
        cycle = send
        await send(start())
        await receive()
        await receive()

    wire = await answer(app)
    assert cycle.push(b"hi") is None
    assert wire.writes[-1] == b"2\r\nhi\r\n"
    wire.connection.pause_writing()
    left = asyncio.ensure_future(cycle.push(b"slow"))
    await turns()
    assert wire.writes[-1] == b"2\r\nhi\r\n"
    wire.connection.resume_writing()
    await left
    assert wire.writes[-1] == b"4\r\nslow\r\n"
    await wire.close_by_peer()
    await cycle.push(b"gone")
    assert wire.writes[-1] == b"4\r\nslow\r\n"


async def test_a_whole_answer_is_one_write_before_that_returns() -> None:
    async def app(scope: Scope, receive: Receive, send: Any) -> None:
        assert send.whole(200, [LENGTH], b"hi") is None

    wire = await answer(app)
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"]


async def test_a_whole_answer_waits_for_a_slow_client() -> None:
    async def app(scope: Scope, receive: Receive, send: Any) -> None:
        await send.whole(200, [LENGTH], b"hi")

    wire = Wire(app)
    wire.connection.pause_writing()
    wire.feed(GET)
    await turns(10)
    assert wire.writes == []
    wire.connection.resume_writing()
    await turns(10)
    assert wire.said.endswith(b"\r\n\r\nhi")


async def test_a_head_does_not_wait_for_the_first_piece_of_a_stream() -> None:
    later = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await later.wait()
        await send(body(b"hi"))

    wire = await answer(app)
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]
    later.set()
    await turns()
    assert wire.writes[1:] == [b"2\r\nhi\r\n0\r\n\r\n"]


@pytest.mark.parametrize(
    "header",
    [(b"x", b"y\r\nz: 1"), (b"x", b"y\n"), (b"x", b"y\r"), (b"x\r\n", b"y"), (b"x", b"\n\r"), (b"x", b"\0")],
)
async def test_a_line_break_in_a_header_gets_nowhere(header: tuple[bytes, bytes]) -> None:
    wire = await answer(saying(start(header), body(b"hi")))
    assert wire.said.startswith(b"HTTP/1.1 500 ")
    assert b"z: 1" not in wire.said
    assert wire.closed == "closed"


@pytest.mark.parametrize(
    ("pieces", "said"),
    [([body(b"hello")], b""), ([body(b"h")], b""), ([body(b"h", more=True), body(b"ello")], b"h")],
)
async def test_an_answer_of_another_length_than_announced_is_cut(
    pieces: list[Message], said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    wire = await answer(saying(start(LENGTH), *pieces))
    assert wire.said.partition(b"\r\n\r\n")[2] == said
    assert wire.closed == "closed"
    assert "Content-Length" in caplog.text


async def test_an_app_that_returns_early_cuts_its_answer_and_nothing_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It has said why itself."""
    wire = await answer(saying(start(), body(b"hi", more=True)))
    assert wire.said.endswith(b"2\r\nhi\r\n")
    assert (wire.closed, caplog.text) == ("closed", "")
    wire = await answer(saying(start(), body(b"hi", more=True)), OLD)
    assert wire.closed == "aborted"  # an end in order would look like that of the answer


async def fails(scope: Scope, receive: Receive, send: Send) -> None:
    raise LookupError("a bug")


@pytest.mark.parametrize(("app", "logged"), [(fails, "a bug"), (saying(), "without an answer")])
async def test_an_app_without_an_answer_is_a_500(
    app: ASGIApp, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    wire = await answer(app)
    assert wire.said.startswith(b"HTTP/1.1 500 ")
    assert wire.closed == "closed"
    assert logged in caplog.text


@pytest.mark.parametrize(
    "messages", [[body(b"hi")], [start(), start()], [start(), {"type": "http.response.trailers"}]]
)
async def test_what_is_out_of_turn_is_an_error_of_the_app(messages: list[Message]) -> None:
    errors: list[Exception] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await saying(*messages)(scope, receive, send)
        except RuntimeError as error:
            errors.append(error)

    await answer(app)
    assert len(errors) == 1


class Listens:
    """Receives `count` times at once, answers when told to, and remembers what it was told."""

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self.told: list[Any] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.answer = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            while not self.told or self.told[-1]["type"] != "http.disconnect":
                self.told.append(await receive())

        self.tasks = [asyncio.create_task(listen()) for _ in range(self.count)]
        await self.answer.wait()
        await send(start())
        await send(body(b""))


POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n"


async def test_the_body_comes_as_it_comes_and_then_the_end() -> None:
    app = Listens()
    wire = await answer(app, POST + b"\r\nab")
    wire.feed(b"cd")
    await turns()
    app.answer.set()
    await turns()
    assert [(m.get("body"), m.get("more_body")) for m in app.told] == [
        (b"ab", True),
        (b"cd", False),
        (None, None),
    ]


async def test_a_client_that_leaves_is_told_to_all_who_listen_and_sends_go_nowhere() -> None:
    app = Listens(3)
    wire = await answer(app)
    app.tasks[0].cancel()
    await turns()
    wire.connection.connection_lost(None)
    await asyncio.gather(*app.tasks, return_exceptions=True)
    assert [m["type"] for m in app.told] == ["http.request", "http.disconnect", "http.disconnect"]
    app.answer.set()
    await turns()
    assert wire.writes == []


async def test_who_expects_100_gets_it_when_the_app_wants_the_body() -> None:
    wire = await answer(Listens(), POST + b"expect: 100-Continue\r\n\r\n")
    assert wire.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    wire = await answer(Listens(), POST + b"expect: 100-continue\r\n\r\nabcd")
    assert wire.writes == []  # it has not waited for it
    wire = await answer(saying(start(LENGTH), body(b"hi")), POST + b"expect: 100-continue\r\n\r\n")
    assert wire.said.startswith(b"HTTP/1.1 200 ")
