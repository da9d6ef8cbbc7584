"""A load that costs next to nothing: `python -m benchmarks.load LOAD` takes a `Load` as JSON and prints a `Report`.

`connections` requests are always under way, or `rate` of them begin in every second; either for `seconds`.
Latencies count from the moment at which a request was due, so that one that had to wait shows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import msgspec
import uvloop

STALLED = 30.0
TAIL = 64
"""Bytes at the end of an answer that are looked at."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to send. Without `rate`, each connection sends the next request when it has its answer.

    An answer is good if its status is 200 and its last bytes have `ends_with` in them: a stream that a gateway makes a
    plain answer of, or cuts, is a failure.
    """

    url: str
    headers: dict[str, str] = {}
    body: str
    ends_with: str = ""
    seconds: float
    connections: int = 16
    rate: float = 0.0


class Spread(msgspec.Struct, frozen=True):
    """Median and 99th percentile of some seconds; zeros where there were none."""

    p50: float = 0.0
    p99: float = 0.0

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of these."""
        ordered = sorted(values)
        return cls(ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]) if ordered else cls()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: how many answers, and the time to their end, to their first byte, between two pieces."""

    requests: int
    failed: int
    seconds: float
    latency: Spread
    first: Spread
    gap: Spread


class Tally:
    """Everything that a run sees, as it comes."""

    def __init__(self) -> None:
        self.requests = 0
        self.failed = 0
        self.latencies: list[float] = []
        self.first: list[float] = []
        self.gaps: list[float] = []

    def report(self, seconds: float) -> Report:
        """All of it, in a few numbers."""
        return Report(
            requests=self.requests,
            failed=self.failed,
            seconds=seconds,
            latency=Spread.of(self.latencies),
            first=Spread.of(self.first),
            gap=Spread.of(self.gaps),
        )


def request_bytes(load: Load) -> bytes:
    """The whole request, as it goes over the wire."""
    parts = urlsplit(load.url)
    body = load.body.encode()
    headers = {"host": parts.netloc, "content-type": "application/json", **load.headers}
    lines = [f"POST {parts.path}?{parts.query} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


class Client(asyncio.Protocol):
    """One connection with one request at a time; `done` is called when its answer is complete."""

    def __init__(
        self, request: bytes, ends_with: bytes, tally: Tally, done: Callable[[Client], None]
    ) -> None:
        self._request = request
        self._ends_with = ends_with
        self._tally = tally
        self._done = done
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]

    def send(self, due: float) -> None:
        """Send the request, which was due at `due` on the performance counter."""
        self._due = due
        self._busy = True
        self._head: bytes | None = b""
        self._last = 0.0
        self._tail = b""
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if self._head is not None:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = None
            self._read_head(head)
        if data:
            if self._last:
                self._tally.gaps.append(now - self._last)
            else:
                self._tally.first.append(now - self._due)
            self._last = now
        self._read_body(data, now)

    def _read_head(self, head: bytes) -> None:
        self._good = head[9:12] == b"200"
        length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        self._missing = int(length) if length else -1

    def _read_body(self, data: bytes, now: float) -> None:
        self._tail = (self._tail + data[-TAIL:])[-TAIL:]
        if self._missing < 0:
            over = self._tail.endswith(b"\r\n0\r\n\r\n")
        else:
            self._missing -= len(data)
            over = self._missing == 0
        if over:
            self._busy = False
            good = self._good and self._ends_with in self._tail
            self._tally.requests += good
            self._tally.failed += not good
            self._tally.latencies.append(now - self._due)
            self._done(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._tally.failed += self._busy

    def close(self) -> None:
        """Hang up."""
        self._transport.abort()


class Run:
    """A load under way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        parts = urlsplit(load.url)
        self._address = parts.hostname or "", parts.port or 80
        self._tally = Tally()
        self._request = request_bytes(load)
        self._all: list[Client] = []
        self._idle: list[Client] = []
        self._under_way = 0
        self._still = asyncio.Event()
        self._stop_at = 0.0

    async def run(self) -> Report:
        """Send for as long as the load says, then wait for what is under way."""
        for _ in range(self._load.connections):
            self._idle.append(await self._open())
        started = time.perf_counter()
        self._stop_at = started + self._load.seconds
        await (self._at_rate(started) if self._load.rate else self._always_busy(started))
        if self._under_way:
            self._still.clear()
            with contextlib.suppress(TimeoutError):  # what never came is told by `failed`
                async with asyncio.timeout(STALLED):
                    await self._still.wait()
        self._tally.failed += self._under_way
        for client in self._all:
            client.close()
        return self._tally.report(time.perf_counter() - started)

    async def _always_busy(self, started: float) -> None:
        every = min(1.0, self._load.seconds / 2) / len(self._idle)
        for number, client in enumerate(self._idle):  # spread, so that paced streams do not tick in step
            await asyncio.sleep(started + number * every - time.perf_counter())
            self._send(client, time.perf_counter())
        await asyncio.sleep(self._stop_at - time.perf_counter())

    async def _at_rate(self, started: float) -> None:
        for number in range(int(self._load.rate * self._load.seconds)):
            due = started + number / self._load.rate
            await asyncio.sleep(due - time.perf_counter())
            if not self._idle:
                self._idle.append(await self._open())
            self._send(self._idle.pop(), due)

    async def _open(self) -> Client:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(
            lambda: Client(self._request, self._load.ends_with.encode(), self._tally, self._done),
            *self._address,
        )
        self._all.append(client)
        return client

    def _send(self, client: Client, due: float) -> None:
        self._under_way += 1
        client.send(due)

    def _done(self, client: Client) -> None:
        self._under_way -= 1
        now = time.perf_counter()
        if self._load.rate:
            self._idle.append(client)
        elif now < self._stop_at:
            self._send(client, now)
        if not self._under_way:
            self._still.set()


def main() -> None:
    """Run the load that the command line describes."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    load = msgspec.json.decode(sys.argv[1], type=Load)
    report = uvloop.run(Run(load).run())
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main()
