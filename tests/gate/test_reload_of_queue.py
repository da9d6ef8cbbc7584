"""SIGHUP to a served process while requests wait in its queue: each is answered once, and nothing stays behind."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from shutil import copy

import httpx
import pytest
from cluster import STARTED_WITHIN, Cluster, free_port, llmgate, said
from gates import ANSWER
from servers import Peer, ScriptedUpstream, until
from stores import migrated_file

from llmgate.cli.administration import administer
from llmgate.config import load
from llmgate.ledger import Filter

__all__ = ["migrated_file"]

TOML = """
[gate]
listen = ["127.0.0.1:{port}"]
access_log = false
[store]
url = "sqlite:///gate.db"
[upstreams.vllm]
urls = ["{url}"]
dialect = "vllm"
context_length = 1000
list_models = false
health.enabled = false
max_in_flight = {places}
[[routes]]
path = "/v1"
upstream = "vllm"
[[quotas]]
per = "user"
tokens = 1_000_000
"""
EACH = 12
"""Tokens that the backend reports for every answer."""


class Leash:
    """A backend that keeps each request until all are let go, and notes whose it got."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        while True:
            _, body = await peer.request()
            self.asked.append(json.loads(body)["user"])
            await self.go.wait()
            await peer.answer(ANSWER, headers=b"content-type: application/json\r\n")


@asynccontextmanager
async def served(folder: Path, write: Callable[[int], str], url: str) -> AsyncIterator[Cluster]:
    """The gate in `folder` as a process of its own, which ends in order."""
    config = folder / "gate.toml"
    config.write_text(write(1))
    command = llmgate(config, "serve")
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stderr=asyncio.subprocess.PIPE)
    try:
        await said(process, "llmgate listens on")
        yield Cluster(process, config, url)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        _, rest = await process.communicate()
        assert b"Traceback" not in rest, rest.decode()


async def metric(http: httpx.AsyncClient, name: str) -> float:
    """The sum of a metric's samples."""
    text = (await http.get("/metrics")).text
    return sum(float(found) for found in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


async def comes_to(read: Callable[[], Awaitable[float]], value: float) -> None:
    """Wait until another process says so."""
    async with asyncio.timeout(STARTED_WITHIN):
        while await read() != value:  # noqa: ASYNC110 - another process finds out
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("reloads", [1, 3])
async def test_who_waits_while_the_gate_is_reloaded_is_answered_once_and_charged_once(
    tmp_path: Path, migrated_file: Path, reloads: int
) -> None:
    copy(migrated_file, tmp_path / "gate.db")
    port, leash = free_port(), Leash()
    url = f"http://127.0.0.1:{port}"
    async with ScriptedUpstream(leash) as upstream:

        def toml(places: int) -> str:
            return TOML.format(port=port, url=upstream.url, places=places)

        async with served(tmp_path, toml, url) as gate:
            key = await gate.key("ann")
            headers = {"authorization": f"Bearer {key}"}
            async with httpx.AsyncClient(
                base_url=url, headers=headers, timeout=STARTED_WITHIN, trust_env=False
            ) as http:

                async def ask(name: str) -> int:
                    body = {"model": "small", "messages": [], "max_tokens": 5, "user": name}
                    return (await http.post("/v1/chat/completions", json=body)).status_code

                async def waiting() -> float:
                    return await metric(http, "llmgate_queue_length")

                names = [f"before {number}" for number in range(8)]
                asked = [asyncio.create_task(ask(name)) for name in names]
                await comes_to(waiting, 7)
                for number in range(reloads):
                    places = 2 + number
                    gate.config.write_text(toml(places))
                    gate.process.send_signal(signal.SIGHUP)
                    await said(gate.process, "is in force")
                    await until(lambda places=places: len(leash.asked) == places)
                    names.append(f"after {number}")
                    asked.append(asyncio.create_task(ask(names[-1])))
                    await comes_to(waiting, len(names) - places)
                leash.go.set()
                assert await asyncio.gather(*asked) == [200] * len(names)
                assert sorted(leash.asked) == sorted(names)
                for name in ("llmgate_queue_length", "llmgate_quota_held", "llmgate_requests_in_flight"):
                    await comes_to(partial(metric, http, name), 0)
                assert await metric(http, "llmgate_queue_turned_away_total") == 0
        async with administer(load(gate.config)) as admin:
            totals = await admin.reports.totals(Filter(user_id=(await admin.user("ann")).id))
        assert await gate.charged("ann") == len(names) * EACH
        assert totals.requests == len(names)
