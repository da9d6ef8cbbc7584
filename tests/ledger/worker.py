"""A gate's worker in a process of its own, which does what it is told over a pipe, until it is killed."""

import asyncio
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from llmgate.errors import QuotaExhausted
from llmgate.ledger import Filter, Ledger, Quotas, Reports, Window
from llmgate.store import Store

from .ledgers import ANN, draft, open_ledger, record, reserve, tokens

FORK = multiprocessing.get_context("fork")


class Worker:
    """The handle of a worker. Calls return what its methods below return."""

    def __init__(self, url: str, folder: Path, clock: Any, durability: str) -> None:
        self._pipe, theirs = FORK.Pipe()
        self._process = FORK.Process(target=_main, args=(theirs, url, folder, clock, durability), daemon=True)
        self._process.start()
        theirs.close()
        assert self._pipe.recv() == "ready"

    def __call__(self, name: str, *arguments: Any) -> Any:
        self._pipe.send((name, *arguments))
        return self._pipe.recv()

    def send(self, name: str, *arguments: Any) -> None:
        """Have something done, without waiting for it."""
        self._pipe.send((name, *arguments))

    def kill(self) -> None:
        """kill -9."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()
        self._pipe.close()

    def stop(self) -> None:
        """Leave in order."""
        self.send("stop")
        self._process.join()
        self._pipe.close()
        assert self._process.exitcode == 0


def _main(pipe: Connection, url: str, folder: Path, clock: Any, durability: str) -> None:
    asyncio.run(_serve(pipe, url, folder, clock, durability))


async def _serve(pipe: Connection, url: str, folder: Path, clock: Any, durability: str) -> None:
    async with (
        Store.open(url, clock=lambda: clock.value) as store,
        open_ledger(store, folder, durability=durability) as ledger,
    ):
        served = _Requests(store, ledger)
        pipe.send("ready")
        while (command := await asyncio.to_thread(pipe.recv)) != ("stop",):
            name, *arguments = command
            pipe.send(await getattr(served, name)(*arguments))


class _Requests:
    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._running: dict[str, Any] = {}

    async def limit(self, limit: int) -> None:
        await Quotas(self._store).set(ANN, tokens(limit, window=Window.DAY))

    async def admit(self, name: str, amount: int) -> int | None:
        """What is held for it; None if it is refused."""
        try:
            hold = await reserve(self._ledger, amount)
        except QuotaExhausted:
            return None
        self._running[name] = hold, self._ledger.begin(draft(name), hold)
        return hold.parts[0][1]

    async def note(self, name: str, used: int) -> None:
        self._running[name][1].note(record(name, used, outcome="lost", certainty="partial"))

    async def settle(self, name: str, used: int) -> None:
        await self._ledger.settle(record(name, used), *self._running[name])

    async def read(self) -> tuple[dict[str, int], int]:
        """The tokens of every record, and what is used of the account."""
        found = await Reports(self._store).records(Filter(), limit=10_000)
        (balance,) = await Quotas(self._store).of(ANN)
        return {one.request_id: one.output_tokens for one in found}, balance.used

    async def flush(self) -> None:
        await self._store.flush()

    async def abandon(self, name: str) -> None:
        hold, slot = self._running.pop(name)
        hold.release()
        slot.free()
