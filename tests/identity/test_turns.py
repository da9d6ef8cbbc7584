"""Turns at costly work: few at once, fair between clients, and bounded."""

import asyncio

import pytest

from llmgate.errors import RateLimited, Unavailable
from llmgate.identity.turns import Turns


class Work:
    """Takes turns for clients and notes who has had one, in which order; each lasts until it is told to end."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.order: list[str] = []
        self.at_once = self.most = 0
        self.go_on = asyncio.Semaphore(0)

    def begin(self, client: str) -> asyncio.Task[None]:
        return asyncio.create_task(self._work(client))

    async def _work(self, client: str) -> None:
        async with self.turns.take(client):
            self.order.append(client)
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            await self.go_on.acquire()
            self.at_once -= 1

    async def finish(self, *tasks: asyncio.Task[None]) -> None:
        for _ in tasks:
            self.go_on.release()
        await asyncio.gather(*tasks)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_client_with_many_requests_does_not_keep_others_waiting() -> None:
    """200 wrong log-ins of one address make everybody else wait for one of them, not for all."""
    work = Work(Turns(1, waiting=500, waiting_each=300))
    flood = [work.begin("mallory") for _ in range(200)]
    await settle()
    others = [work.begin(name) for name in ("ann", "bob")]
    await settle()
    await work.finish(*flood, *others)
    assert {"ann", "bob"} <= set(work.order[:4])
    assert work.most == 1


async def test_as_many_at_once_as_said() -> None:
    work = Work(Turns(3))
    tasks = [work.begin(str(n % 4)) for n in range(20)]
    await settle()
    assert work.at_once == 3
    await work.finish(*tasks)
    assert (work.most, len(work.order)) == (3, 20)


async def test_a_client_that_waits_for_too_many_is_told_to_wait() -> None:
    work = Work(Turns(1, waiting_each=2))
    tasks = [work.begin("mallory") for _ in range(3)]
    await settle()
    with pytest.raises(RateLimited):
        await work.begin("mallory")
    tasks.append(work.begin("ann"))
    await work.finish(*tasks)


async def test_where_too_many_wait_it_is_503() -> None:
    work = Work(Turns(1, waiting=2))
    tasks = [work.begin(name) for name in ("a", "b", "c")]
    await settle()
    with pytest.raises(Unavailable) as caught:
        await work.begin("d")
    assert caught.value.headers == [(b"retry-after", b"5")]
    await work.finish(*tasks)


async def test_who_leaves_while_waiting_takes_no_turn() -> None:
    """Neither in line, nor when the turn had just been given."""
    turns = Turns(1)
    work = Work(turns)
    first = work.begin("a")
    await settle()
    second, third, fourth = work.begin("a"), work.begin("b"), work.begin("c")
    await settle()
    third.cancel()
    await settle()
    work.go_on.release()
    await first  # passes its turn on to the second
    second.cancel()
    await settle()
    await work.finish(fourth)
    assert "c" in work.order
    async with turns.take("d"):
        pass
