"""Which of two replicas answers, over sockets: who has been at one stays there, however callers are told apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copy
from typing import Any

import httpx
import msgspec
import pytest
from gates import Running, running
from servers import PATIENCE, Peer, ScriptedUpstream, until
from stores import migrated_file

from llmgate.permissions import Permissions

__all__ = ["migrated_file"]

CALLERS = 24
"""So many that all at one of two replicas would be no chance: 2 in 2**24."""

Asked = Mapping[str, Any]
"""What makes the requests of one caller: httpx's `headers`, members of the body in `json`."""


class Replica:
    """A backend that answers with its name, at once or when it is `free` again. It can die, and come back."""

    def __init__(self, name: str, stack: AsyncExitStack) -> None:
        self.name = name
        self.asked = 0
        self.free = asyncio.Event()
        self.free.set()
        self._stack = stack
        self._peers: list[Peer] = []
        self._port = 0

    async def start(self) -> str:
        """Listen, at the same address as before; the URL."""
        self._server = await self._stack.enter_async_context(ScriptedUpstream(self._serve, port=self._port))
        self._port = self._server.port
        return self._server.url

    def die(self) -> None:
        """Refuse connections, and drop those that are there."""
        self._server.stop()
        for peer in self._peers:
            peer.reset()

    async def _serve(self, peer: Peer) -> None:
        self._peers.append(peer)
        while True:
            await peer.request()
            self.asked += 1
            await self.free.wait()
            answer = {"id": self.name, "usage": {"prompt_tokens": 5, "completion_tokens": 7}}
            await peer.answer(msgspec.json.encode(answer), headers=b"content-type: application/json\r\n")


@dataclass
class Two:
    """A gate in front of two replicas."""

    gate: Running
    http: httpx.AsyncClient
    replicas: Mapping[str, Replica]

    async def ask(self, asked: Asked) -> str:
        """The name of the replica that answered."""
        body = {"model": "small", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
        headers = {"authorization": f"Bearer {self.gate.key}", **asked.get("headers", {})}
        json = {**body, **asked.get("json", {})}
        answer = await self.http.post("/v1/chat/completions", json=json, headers=headers)
        assert answer.status_code == 200, answer.text
        name: str = answer.json()["id"]
        return name

    def other(self, name: str) -> str:
        """The one that is not `name`."""
        (found,) = self.replicas.keys() - {name}
        return found

    @asynccontextmanager
    async def busy(self, name: str, asked: Asked) -> AsyncIterator[None]:
        """The replica of the caller `asked`, called `name`, has two requests that run, and the other one nothing."""
        replica = self.replicas[name]
        before = replica.asked
        replica.free.clear()
        held = [asyncio.create_task(self.ask(asked)) for _ in range(2)]
        await until(lambda: replica.asked == before + 2)
        yield
        replica.free.set()
        assert await asyncio.gather(*held) == [name] * 2


@dataclass(frozen=True)
class Way:
    """A way to tell callers apart: the upstream's settings, and the requests of so many callers."""

    settings: Mapping[str, Any]
    callers: Callable[[Running, int], Awaitable[list[Asked]]]


async def _by_header(_: Running, number: int) -> list[Asked]:
    return [{"headers": {"x-session": f"session {each}"}} for each in range(number)]


async def _by_user(gate: Running, number: int) -> list[Asked]:
    identity = gate.gate.services.identity
    users = [await identity.users.register(f"user{each}", None) for each in range(number)]
    secrets = [(await identity.keys.create(user.id, "own"))[1] for user in users]
    return [{"headers": {"authorization": f"Bearer {secret}"}} for secret in secrets]


async def _by_end_user(gate: Running, number: int) -> list[Asked]:
    identity = gate.gate.services.identity
    shared = await identity.users.register("shared", None)
    may = Permissions(names_end_users=True)
    _, secret = await identity.keys.create(shared.id, "one for all", permissions=may)
    headers = {"authorization": f"Bearer {secret}"}
    return [{"headers": headers, "json": {"user": f"person {each}"}} for each in range(number)]


async def _by_prompt(_: Running, number: int) -> list[Asked]:
    texts = [f"Document {each}. " + "All that is in it. " * 40 for each in range(number)]
    return [{"json": {"messages": [{"role": "system", "content": text}]}} for text in texts]


WAYS = {
    "sticky by header": Way({"balance": "sticky", "sticky_header": "X-Session"}, _by_header),
    "sticky by user": Way({"balance": "sticky"}, _by_user),
    "sticky by end user": Way({"balance": "sticky"}, _by_end_user),
    "prefix": Way({"balance": "prefix"}, _by_prompt),
}


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


@pytest.fixture
async def two(way: Way, tmp_path: Path, migrated_file: Path) -> AsyncIterator[Two]:
    async with AsyncExitStack() as stack:
        replicas = {name: Replica(name, stack) for name in ("one", "two")}
        urls = [await replica.start() for replica in replicas.values()]
        settings = {"urls": urls, "context_length": 10_000, **way.settings}
        store = Path(copy(migrated_file, tmp_path / "gate.db"))
        gate = await stack.enter_async_context(running(tmp_path, store, settings=settings))
        http = httpx.AsyncClient(base_url=gate.url, trust_env=False, timeout=PATIENCE)
        yield Two(gate, await stack.enter_async_context(http), replicas)


async def test_a_caller_stays_with_its_replica_and_callers_are_spread(two: Two, way: Way) -> None:
    callers = await way.callers(two.gate, CALLERS)
    homes = [await two.ask(caller) for caller in callers]
    assert set(homes) == two.replicas.keys()
    for _ in range(2):
        assert [await two.ask(caller) for caller in callers] == homes


async def test_who_has_to_move_from_a_dead_replica_stays_at_the_new_one_and_comes_back_when_that_dies(
    two: Two, way: Way
) -> None:
    (caller,) = await way.callers(two.gate, 1)
    home = await two.ask(caller)
    new = two.other(home)
    two.replicas[home].die()
    assert [await two.ask(caller) for _ in range(3)] == [new] * 3
    await two.replicas[home].start()
    assert await two.ask(caller) == new
    two.replicas[new].die()
    assert [await two.ask(caller) for _ in range(3)] == [home] * 3
    await two.gate.quiet()


async def test_a_replica_that_is_far_busier_is_passed_over_and_the_caller_comes_back_by_the_same_rule(
    two: Two, way: Way
) -> None:
    (caller,) = await way.callers(two.gate, 1)
    home = await two.ask(caller)
    new = two.other(home)
    async with two.busy(home, caller):
        assert await two.ask(caller) == new
    assert await two.ask(caller) == new
    async with two.busy(new, caller):
        assert await two.ask(caller) == home
    assert await two.ask(caller) == home
    await two.gate.quiet()


async def test_one_request_that_runs_sends_nobody_away(two: Two, way: Way) -> None:
    (caller,) = await way.callers(two.gate, 1)
    home = await two.ask(caller)
    replica = two.replicas[home]
    replica.free.clear()
    both = [asyncio.create_task(two.ask(caller)) for _ in range(2)]
    await until(lambda: replica.asked == 3)
    replica.free.set()
    assert await asyncio.gather(*both) == [home] * 2
