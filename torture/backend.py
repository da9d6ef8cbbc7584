"""A backend that knows what it has reported: `python -m torture.backend PORT LOG`.

It answers chats as vLLM does, as the `metadata` of each request says (a `Script`), and writes every count of
tokens into its log before it tells it, so that the log is right even if it is killed.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Iterator
from contextlib import suppress

import msgspec

MODEL = "m"
WORD = "tok "
"""The text of a token: no longer than what an estimate takes for one."""
DONE = b"data: [DONE]\n\n"
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_MOST_IN_A_PIECE = 4


class Script(msgspec.Struct, frozen=True):
    """How to answer: with so many `tokens` if none are forbidden, a `pause` (seconds) between two pieces.

    With `dies_after` the connection is cut after so many pieces of the answer: 0 is before its head.
    """

    tag: str
    tokens: int
    pause: float = 0.0
    dies_after: int | None = None


class Report(msgspec.Struct, frozen=True, array_like=True):
    """What was reported for a request so far: its id at the gate, its tag, tokens. `final`: that was all.

    `sent` is the answer's bytes so far.
    """

    id: str
    tag: str
    input: int
    output: int
    final: bool
    sent: int = 0


class _Message(msgspec.Struct):
    content: str

    @property
    def script(self) -> Script:
        """What a prompt that comes by a surface says in the place of `metadata`."""
        return msgspec.json.decode(self.content, type=Script)


class _Options(msgspec.Struct, frozen=True):
    include_usage: bool = False
    continuous_usage_stats: bool = False


class _Chat(msgspec.Struct):
    messages: list[_Message]
    metadata: Script | None = None
    stream: bool = False
    stream_options: _Options = _Options()
    max_tokens: int | None = None
    max_completion_tokens: int | None = None

    @property
    def script(self) -> Script:
        """How to answer."""
        return self.metadata or self.messages[0].script

    @property
    def output(self) -> int:
        """The tokens to make."""
        limits = (self.script.tokens, self.max_tokens, self.max_completion_tokens)
        return min(limit for limit in limits if limit is not None)


class _Prompt(msgspec.Struct):
    messages: list[_Message]


def tokens_of(messages: list[_Message]) -> int:
    """The length of a prompt: its words."""
    return sum(len(message.content.split()) for message in messages)


def plain(note: Report) -> Iterator[tuple[bytes, Report]]:
    """A whole answer in four pieces, and what has been reported with each."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": WORD * note.output}}
    answer = {"object": "chat.completion", "model": MODEL, "choices": [choice], "usage": _usage(note)}
    body = msgspec.json.encode(answer)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    size = len(body) // 4 + 1
    for at in range(0, len(body), size):
        yield (head if at == 0 else b"") + body[at : at + size], note


def stream(chat: _Chat, note: Report, rng: random.Random) -> Iterator[tuple[bytes, Report]]:
    """An event stream, piece by piece, and what has been reported with each."""
    options, made, final = chat.stream_options, 0, note
    head = _STREAM_HEAD
    while made < final.output:
        step = min(rng.randint(1, _MOST_IN_A_PIECE), final.output - made)
        made += step
        note = msgspec.structs.replace(final, output=made, final=False)
        choice = {"index": 0, "delta": {"content": WORD * step}, "finish_reason": None}
        usage = {"usage": _usage(note)} if options.continuous_usage_stats else {}
        yield head + _event({"choices": [choice], **usage}), note
        head = b""
    note = msgspec.structs.replace(final, final=False)
    end = [_event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})]
    if options.include_usage:
        end.append(_event({"choices": [], "usage": _usage(final)}))
    end.append(b"%x\r\n%b\r\n" % (len(DONE), DONE) + _LAST_CHUNK)
    end[0] = head + end[0]
    if rng.random() < 0.5:  # all in one read, as a fast backend does
        end = [b"".join(end)]
    yield from ((piece, final) for piece in end)


class DynamicUpstream:
    """The server: its log is the open file `log`."""

    def __init__(self, log: int) -> None:
        self._log = log

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until either side ends it."""
        with suppress(EOFError, ConnectionError):
            while await self._answer(reader, writer):
                pass
        writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False if its script says to die."""
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path = first.split()[1]
        if path != "/v1/chat/completions":
            prompt = msgspec.json.decode(body, type=_Prompt) if path == "/tokenize" else None
            content = b'{"count":%d}' % (tokens_of(prompt.messages) if prompt else 0)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content))
            return True
        chat = msgspec.json.decode(body, type=_Chat)
        script = chat.script
        note = Report(headers["x-request-id"], script.tag, tokens_of(chat.messages), chat.output, final=True)
        pieces = stream(chat, note, random.Random(script.tag)) if chat.stream else plain(note)
        self._write(msgspec.structs.replace(note, input=0, output=0, final=False))
        sent = 0
        for number, (piece, reported) in enumerate(pieces):
            if number == script.dies_after:
                return False
            sent += len(piece)
            self._write(msgspec.structs.replace(reported, sent=sent))
            writer.write(piece)
            await asyncio.sleep(script.pause)
            await writer.drain()
        return True

    def _write(self, report: Report) -> None:
        os.write(self._log, msgspec.json.encode(report) + b"\n")


def _usage(note: Report) -> dict[str, int]:
    return {
        "prompt_tokens": note.input,
        "completion_tokens": note.output,
        "total_tokens": note.input + note.output,
    }


def _event(members: dict[str, object]) -> bytes:
    data = msgspec.json.encode({"object": "chat.completion.chunk", "model": MODEL, **members})
    return b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data)


async def main(port: int, log: str) -> None:
    """Serve until the process is ended."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    server = await asyncio.start_server(DynamicUpstream(descriptor).serve, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
