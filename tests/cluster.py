"""A gate of several worker processes for tests: PostgreSQL, Redis, and an upstream that reports what it used."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from redis_server import REDIS
from servers import Peer, ScriptedUpstream

from llmgate.cli.administration import administer
from llmgate.config import load
from llmgate.ledger import Allotment, Filter, Subject, Totals, Unit
from llmgate.store.schema import leases, workers

INPUT, OUTPUT = 10, 5
"""Tokens that every answer of `answering` reports."""
STARTED_WITHIN = 30.0

GATE = """
[gate]
listen = ["127.0.0.1:{port}"]
access_log = false
shutdown_grace = 5.0

[store]
url = "{store}"

[limits_store]
url = "{redis}"
prefix = "{prefix}"

[upstreams.backend]
urls = ["{upstream}"]
context_length = 100

[[routes]]
path = "/v1"
upstream = "backend"
"""


async def answering(peer: Peer) -> None:
    """An upstream's side of a connection: every request is answered with the same usage."""
    usage = {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    body = json.dumps(
        {"object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
    ).encode()
    while True:
        await peer.request()
        await peer.answer(body, headers=b"content-type: application/json\r\n")


@dataclass
class Cluster:
    """A running gate: the supervisor's process, and where it listens."""

    process: asyncio.subprocess.Process
    config: Path
    url: str

    @property
    def workers(self) -> list[int]:
        """The pids of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return sorted(int(pid) for pid in children.split())

    async def run(self, *words: str) -> str:
        """What `llmgate WORDS` prints, run beside the gate."""
        process = await asyncio.create_subprocess_exec(
            *llmgate(self.config, *words), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        return out.decode()

    async def key(self, user: str, *, tokens: int | None = None) -> str:
        """A key of a new user, who may use so many `tokens`."""
        async with administer(load(self.config)) as admin:
            found = await admin.identity.users.register(user, None)
            if tokens is not None:
                await admin.quotas.set(Subject("user", found.id), Allotment(Unit.TOKENS, tokens))
            _, secret = await admin.identity.keys.create(found.id, "test")
            return secret

    async def usage(self, user: str) -> Totals:
        """What `user` has used, by the ledger."""
        async with administer(load(self.config)) as admin:
            return await admin.reports.totals(Filter(user_id=(await admin.user(user)).id))

    async def leasing(self) -> set[int | None]:
        """The pids of the workers who have leased something; None for one who is not on the list."""
        query = sa.select(workers.c.pid).select_from(
            leases.outerjoin(workers, workers.c.id == leases.c.worker_id)
        )
        async with administer(load(self.config)) as admin, admin.store.connect() as db:
            return set(await db.scalars(query))

    async def charged(self, user: str) -> int:
        """What was taken from the one quota of `user`."""
        async with administer(load(self.config)) as admin:
            (balance,) = await admin.quotas.of(Subject("user", (await admin.user(user)).id))
            return balance.used


def llmgate(config: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "llmgate", "--config", str(config), *words]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@asynccontextmanager
async def running(
    folder: Path, store_url: str, *, more: str = "", workers: int = 2
) -> AsyncIterator[Cluster]:
    """A gate of `workers` processes on its own store and Redis keys; `more` is added to its gate.toml."""
    port = free_port()
    async with ScriptedUpstream(answering) as upstream:
        config = folder / "gate.toml"
        names = {"prefix": f"llmgate-test:{uuid.uuid4().hex}", "upstream": upstream.url, "port": port}
        config.write_text(GATE.format(store=store_url, redis=REDIS, **names) + more)
        process = await asyncio.create_subprocess_exec(
            *llmgate(config, "serve", "--workers", str(workers)), stderr=asyncio.subprocess.PIPE
        )
        try:
            await said(process, r"llmgate listens on")
            yield Cluster(process, config, f"http://127.0.0.1:{port}")
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            _, rest = await process.communicate()
            assert b"Traceback" not in rest, rest.decode()


async def said(process: asyncio.subprocess.Process, pattern: str) -> str:
    """The first line on stderr that `pattern` is found in."""
    assert process.stderr is not None
    lines = []
    async with asyncio.timeout(STARTED_WITHIN):
        while line := (await process.stderr.readline()).decode():
            lines.append(line)
            if re.search(pattern, line):
                return line
    raise AssertionError(f"{pattern!r} was not said, but:\n{''.join(lines)}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, headers by lower-case name, body."""

    status: int
    headers: dict[str, str]
    body: str


async def get(url: str) -> Answer:
    """One GET on a connection of its own."""
    return await _exchange("GET", url, "", b"")


async def chat(url: str, key: str, *, route: str = "/v1") -> Answer:
    """One chat on a connection of its own, so that the kernel chooses the worker."""
    body = {"model": "m", "max_tokens": OUTPUT, "messages": [{"role": "user", "content": "Hi"}]}
    headers = f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n"
    return await _exchange("POST", f"{url}{route}/chat/completions", headers, json.dumps(body).encode())


async def _exchange(method: str, url: str, headers: str, body: bytes) -> Answer:
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    head = f"{method} /{path} HTTP/1.1\r\nhost: {host}\r\n{headers}content-length: {len(body)}\r\n"
    try:
        writer.write(f"{head}connection: close\r\n\r\n".encode() + body)
        content = (await reader.read()).decode()
    finally:
        writer.close()
        await writer.wait_closed()
    first, *lines = content.partition("\r\n\r\n")[0].split("\r\n")
    found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(first.split()[1]), found, content.partition("\r\n\r\n")[2])
