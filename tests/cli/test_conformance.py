"""`llmgate conformance`: a backend, and a gate in front of it, asked the same."""

import asyncio

from servers import serve
from starlette.types import ASGIApp, Receive, Scope, Send

from cli.conftest import Cli


def backend(extra: bytes = b"") -> ASGIApp:
    """Lists one model; `extra` is what somebody has put into the answer on the way."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = b'{"object":"list","data":[{"id":"small"}]}' + extra
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body if scope["method"] == "GET" else b""})

    return app


async def compared(unmigrated: Cli, gate: ASGIApp, *, code: int) -> str:
    async with serve(backend()) as direct, serve(gate) as through:
        arguments = ["conformance", direct, "--through", through, "--only", "models", "--only", "head_models"]
        result = await asyncio.to_thread(unmigrated, *arguments, code=code)
    return result.stdout


async def test_what_is_the_same_through_the_gate_is_counted(unmigrated: Cli) -> None:
    lines = (await compared(unmigrated, backend(), code=0)).splitlines()
    assert [line.split() for line in lines[:2]] == [["models", "same"], ["head_models", "same"]]
    assert lines[-1] == "2 requests: 2 same"


async def test_a_difference_is_shown_and_ends_with_1(unmigrated: Cli) -> None:
    stdout = await compared(unmigrated, backend(b" "), code=1)
    assert "DIFFERS" in stdout and "body" in stdout


def test_a_request_that_there_is_not_is_named(unmigrated: Cli) -> None:
    result = unmigrated("conformance", "http://a", "--through", "http://b", "--only", "nope", code=2)
    assert "There is no request called nope." in result.stderr
