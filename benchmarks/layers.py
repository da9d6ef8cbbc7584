"""What each layer costs by itself: one process, no sockets, an upstream that answers at once.

Less than what a served request pays for it, since nothing else disturbs the processor's caches; but it hardly
depends on what else the machine does, and says where the rest goes.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import uvloop

from llmgate.config import load
from llmgate.gate.build import open_gate
from llmgate.gate.runtime import open_runtime
from llmgate.server.collector import THRESHOLDS

from .backend import plain
from .figures import CHAT, body
from .targets import EVERYTHING, Place, llmgate, prepare

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Scope

    from llmgate.errors import Header
    from llmgate.exchange import Push

STACKS: Mapping[str, tuple[Sequence[str], bool, bool]] = MappingProxyType(
    {
        "gate: routing, ids, metrics, errors, models, relay": ((), False, False),
        "+ API key": ((), True, False),
        "+ rate limit": (("ratelimit",), True, False),
        "+ accounting": (("ratelimit", "accounting"), True, False),
        "+ quotas": (EVERYTHING, True, False),
        "+ routing by model, a key with lists": (EVERYTHING, True, True),
    }
)
"""Each has what the one before has, and one thing more: its middleware, whether it asks for a key, and whether the
model decides where a request goes, asked for by a key that is held to models, routes and addresses."""
ROUTED = """
[upstreams.other]
urls = ["http://127.0.0.1:3"]
dialect = "vllm"

[[models]]
name = "%s"
targets = [{ upstream = "backend" }]
"""

BODY = body(1024).encode()
AT_ONCE = 16
REQUESTS = 3200
TRIES = 9


class _Answer:
    """An `UpstreamResponse` that is there, head and body."""

    status = 200

    def __init__(self, head: list[Header], content: bytes) -> None:
        self.headers = head
        self.ended = False
        self._content = content

    async def read(self) -> bytes:
        self.ended = True
        content, self._content = self._content, b""
        return content

    def whole(self) -> bytes:
        self.ended = True
        return self._content

    async def pump(self, _: Push) -> None:
        """All of it is there: `whole` has it."""

    def abort(self) -> None:
        """It is complete."""


class _Engine:
    """An `Engine` whose upstream answers in the next turn of the loop."""

    def __init__(self, answer: bytes) -> None:
        head, _, self._content = answer.partition(b"\r\n\r\n")
        lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
        self._head = [(name, value) for name, _, value in lines]

    async def send(self, *_: object) -> _Answer:
        await asyncio.sleep(0)
        return _Answer(self._head, self._content)

    async def aclose(self) -> None:
        """Nothing is open."""


def layers() -> Iterator[tuple[str, float, float]]:
    """Name, and microseconds of CPU in the event loop's thread and in all others, for each of `STACKS`."""
    for name, (middleware, keys, routed) in STACKS.items():
        with tempfile.TemporaryDirectory(prefix="llmgate-bench-") as folder:
            place = Place(Path(folder), 1, 2)  # nobody listens, nobody connects
            key = prepare(place, middleware, keys=keys)
            if routed:
                _route_by_model(place)
            yield name, *uvloop.run(_measure(place, key))


def _route_by_model(place: Place) -> None:
    """Two upstreams on the route, of which a table of [[models]] names one, and a key that is held to all it can be."""
    model = json.loads(BODY)["model"]
    file = place.folder / "gate.toml"
    several = file.read_text().replace('upstream = "backend"', 'upstreams = ["backend", "other"]', 1)
    file.write_text(several + ROUTED % model)
    lists = ("--model", f"{model}*", "--route", "/v1", "--network", "127.0.0.0/8", "--priority", "1")
    llmgate(place.folder, "key", "update", "1", *lists)


async def _measure(place: Place, key: str) -> tuple[float, float]:
    os.chdir(place.folder)
    config = load(place.folder / "gate.toml")
    async with open_runtime(config) as runtime, open_gate(config, runtime) as gate:
        for upstream in gate.services.upstreams.values():
            upstream._engine = _Engine(plain(1024))
        (app,) = gate.apps.values()
        await _load(app, key)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)  # as `llmgate serve` does
        tries = [await _timed(app, key) for _ in range(TRIES)]
    return min(tries)


async def _timed(app: ASGIApp, key: str) -> tuple[float, float]:
    own, all_threads = time.thread_time(), time.process_time()
    await _load(app, key)
    own, all_threads = time.thread_time() - own, time.process_time() - all_threads
    return own * 1e6 / REQUESTS, (all_threads - own) * 1e6 / REQUESTS


async def _load(app: ASGIApp, key: str) -> None:
    async def one_after_the_other() -> None:
        for _ in range(REQUESTS // AT_ONCE):
            await _request(app, key)

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))


async def _request(app: ASGIApp, key: str) -> None:
    status = 0
    messages = [{"type": "http.request", "body": BODY, "more_body": False}]

    async def receive() -> Message:
        if not messages:  # the client stays until it has its answer
            await asyncio.get_running_loop().create_future()
        return messages.pop()

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)

    await app(_scope(key), receive, send)
    if status != 200:
        raise RuntimeError(f"a request was answered with {status}")


def _scope(key: str) -> Scope:
    headers = {
        b"host": b"127.0.0.1",
        b"user-agent": b"benchmark",
        b"accept": b"application/json",
        b"content-type": b"application/json",
        b"content-length": b"%d" % len(BODY),
        b"authorization": f"Bearer {key}".encode(),
    }
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": CHAT,
        "raw_path": CHAT.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": list(headers.items()),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
