"""A backend that costs next to nothing: `python -m benchmarks.backend PORT`.

It answers as OpenAI's API does, usage included, as the system message says after "answer", which every gateway
passes on: `size=1024` is a JSON answer of about that many bytes; `chunks=100,pause=0.01` is an event stream of
that many chunks, each a pause (seconds) after the one before, or one for each turn of the event loop where the
pause is 0.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from functools import cache

import uvloop

USAGE = {"prompt_tokens": 200, "completion_tokens": 100, "total_tokens": 300}
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
LAST = b"0\r\n\r\n"
_WISH = re.compile(rb"answer ([^;]*);")


def plain(size: int) -> bytes:
    """A whole answer, head included."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ""}}
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "usage": USAGE}
    bare = json.dumps({**answer, "choices": [choice]})
    choice["message"] = {"role": "assistant", "content": "x" * max(0, size - len(bare))}
    body = json.dumps({**answer, "choices": [choice]}).encode()
    return PLAIN % (len(body), body)


def event(number: int, chunks: int) -> bytes:
    """One event of a stream in a chunk of its own; the last two are the usage and `[DONE]`."""
    if number == chunks - 1:
        return _chunk(b"data: [DONE]\n\n")
    choice = {"index": 0, "delta": {"content": " token"}, "logprobs": None, "finish_reason": None}
    said: dict[str, object] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
    }
    said |= {"choices": [choice], "usage": USAGE | {"completion_tokens": number}}
    if number == chunks - 2:
        said |= {"choices": [], "usage": USAGE}
    return _chunk(b"data: %b\n\n" % json.dumps(said, separators=(",", ":")).encode())


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@cache
def answer(wish: bytes) -> tuple[list[bytes], float]:
    """What to write, piece by piece, and the pause between two pieces."""
    wished = dict(pair.split("=", 1) for pair in wish.decode().split(",") if pair)
    if "chunks" not in wished:
        return [plain(int(wished.get("size", "0")))], 0.0
    chunks = int(wished["chunks"])
    pieces = [event(number, chunks) for number in range(chunks)]
    return [STREAM + pieces[0], *pieces[1:-1], pieces[-1] + LAST], float(wished.get("pause", "0"))


class Backend(asyncio.Protocol):
    """One connection: no request on it is pipelined."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self._loop = asyncio.get_running_loop()
        self._request = b""
        self._missing = 0

    def data_received(self, data: bytes) -> None:
        self._request += data
        if self._missing:
            self._missing -= len(data)
        else:
            head, end, body = self._request.partition(b"\r\n\r\n")
            if not end:
                return
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self._missing = int(length or 0) - len(body)
        if self._missing <= 0:
            wish = _WISH.search(self._request)
            self._request, self._missing = b"", 0
            pieces, pause = answer(wish[1] if wish else b"")
            self._write(pieces, 0, self._loop.time(), pause)

    def _write(self, pieces: list[bytes], number: int, due: float, pause: float) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(pieces[number])
        if number + 1 < len(pieces):
            due += pause
            self._loop.call_at(due, self._write, pieces, number + 1, due, pause)


async def main(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Backend, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
