"""Requests as they are read: the scope that every server gives, and nothing of what comes behind a head."""

from typing import Any

import pytest
from servers import connect, serve, until
from starlette.types import Receive, Scope, Send

from llmgate.server.protocol import HttpProtocol

from .wire import GET, LIMITS, Wire, turns


class Asked:
    """Answers 204 and remembers scopes and bodies."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.scopes.append(scope)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


async def scope_under(wire: bytes, *, uvicorn: bool) -> dict[str, Any]:
    asked = Asked()
    how = () if uvicorn else (HttpProtocol,)
    async with serve(asked, *how) as url, connect(url) as client:
        await client.send(wire)
        await until(lambda: asked.scopes)
    [scope] = asked.scopes
    assert f":{scope.pop('server')[1]}" in url
    return {**scope, "client": scope["client"][0], "body": asked.bodies[0]}


@pytest.mark.parametrize(
    "wire",
    [
        GET,
        b"POST /a%20b/%c3%bc?x=%20&y=1?2 HTTP/1.1\r\nHost: A\r\nX-Two: 1\r\nx-two: 2\r\ncontent-length: 2\r\n\r\nhi",
        b"GET //a///b?#f HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /a#b?c HTTP/1.1\r\nhost: a\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /%ff HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n1\r\n!\r\n0\r\n\r\n",
    ],
)
async def test_a_scope_is_what_uvicorn_makes_of_the_request(wire: bytes) -> None:
    theirs = await scope_under(wire, uvicorn=True)
    assert theirs.pop("state") == {}  # that of its lifespan, which the gate does not have
    assert await scope_under(wire, uvicorn=False) == theirs


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"http://b/c?d", b"b"),
        (b"HTTPS://user:pass@[::1]:81?d", b"[::1]:81"),
        (b"http://evil.example", b"evil.example"),
    ],
)
async def test_a_target_in_absolute_form_says_which_host_is_asked(target: bytes, host: bytes) -> None:
    """RFC 9112 3.2.2: Host does not count then."""
    asked = Asked()
    wire = Wire(asked)
    wire.feed(b"GET %b HTTP/1.1\r\nx: 1\r\nhost: a\r\n\r\n" % target)
    await turns()
    assert asked.scopes[0]["headers"] == [(b"host", host), (b"x", b"1")]


async def test_a_target_in_absolute_form_without_a_path_is_that_of_the_root() -> None:
    asked = Asked()
    wire = Wire(asked)
    wire.feed(b"GET http://a HTTP/1.1\r\nhost: a\r\n\r\n")
    await turns()
    assert asked.scopes[0]["path"] == "/"


async def test_a_request_may_come_byte_by_byte() -> None:
    asked = Asked()
    wire = Wire(asked)
    for byte in b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi":
        wire.feed(bytes([byte]))
    await turns()
    assert (asked.scopes[0]["path"], asked.bodies) == ("/x", [b"hi"])


CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"


async def test_a_trailer_is_no_header() -> None:
    """An app that reads the body first would else see one that nobody has looked at."""
    asked = Asked()
    wire = Wire(asked)
    wire.feed(CHUNKED + b"authorization: Bearer x\r\n\r\n")
    await turns()
    assert [name for name, _ in asked.scopes[0]["headers"]] == [b"host", b"transfer-encoding"]
    assert asked.bodies == [b"a"]


async def test_trailers_without_end_are_431() -> None:
    wire = Wire(Asked())
    wire.feed(CHUNKED)
    for _ in range(100):
        wire.feed(b"x: " + b"y" * 100 + b"\r\n")
    assert wire.said.startswith(b"HTTP/1.1 431 ")
    assert wire.closed == "half"


async def test_a_head_that_begins_behind_another_request_has_the_same_limit() -> None:
    asked = Asked()
    wire = Wire(asked)
    wire.feed(GET + b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * LIMITS.max_header + b"\r\n\r\n")
    await turns()
    assert b"204" not in wire.said  # it closes before the first answer, and nothing gets into that
    assert wire.closed == "closed"


async def test_a_large_body_before_a_head_does_not_count_for_it() -> None:
    asked = Asked()
    wire = Wire(asked)
    large = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n\r\n" + b"x" * 5000
    wire.feed(large + GET[:10])
    wire.feed(GET[10:])
    await turns(20)
    assert wire.said.count(b"HTTP/1.1 204 No Content\r\n\r\n") == 2


@pytest.mark.parametrize(("version", "hosts"), [("1.1", 0), ("1.1", 2), ("1.0", 2)])
async def test_a_request_has_exactly_one_host(version: str, hosts: int) -> None:
    wire = Wire(Asked())
    wire.feed(f"GET / HTTP/{version}\r\n".encode() + b"host: a\r\n" * hosts + b"\r\n")
    assert wire.said.startswith(b"HTTP/1.1 400 ")
