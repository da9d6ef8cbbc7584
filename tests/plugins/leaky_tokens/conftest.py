"""A migrated store with a signing key, and the gate on it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from argon2 import PasswordHasher
from stores import Clock, postgres_database

from llmgate.identity import Identity
from llmgate.store import CORE, Store, migrate
from llmgate.store.schema import metadata
from llmgate_leaky_tokens import tables
from plugins.leaky_tokens.gate import NOON, Providers, Running, open_leaky_gate

SETS = (CORE, tables.MIGRATIONS)
OpenLeakyGate = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture
def providers() -> Providers:
    return Providers()


@pytest.fixture(scope="session")
def leaky_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as the plugin needs it, with the key for sessions, which takes a while to make."""
    path = tmp_path_factory.mktemp("leaky") / "gate.db"

    async def make() -> None:
        await migrate(f"sqlite:///{path}", sets=SETS)
        async with Store.open(f"sqlite:///{path}", clock=Clock(NOON)) as store:
            await Identity.over(store, algorithm="RS256").sessions.jwks()

    asyncio.run(make())
    return path


@pytest.fixture
def open_gate(
    leaky_file: Path, tmp_path: Path, clock: Clock, providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> OpenLeakyGate:
    """Opens the gate of config/leaky-tokens.toml, changed by `change`, always on the same store."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("llmgate.identity.passwords.PasswordHasher", lambda: cheap)
    return partial(open_leaky_gate, copy(leaky_file, tmp_path / "gate.db"), clock, providers)


@pytest.fixture
async def running(open_gate: OpenLeakyGate) -> AsyncIterator[Running]:
    async with open_gate() as running:
        yield running


@pytest.fixture(scope="session")
def leaky_postgres() -> Iterator[str]:
    with postgres_database() as url:
        asyncio.run(migrate(url, sets=SETS))
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def leaky_url(request: pytest.FixtureRequest) -> str:
    """The URL of a store with the plugin's tables, on one database and then on the other."""
    if request.param == "sqlite":
        file: Path = request.getfixturevalue("leaky_file")
        return f"sqlite:///{copy(file, request.getfixturevalue('tmp_path') / 'store.db')}"
    url: str = request.getfixturevalue("leaky_postgres")
    return url


@pytest.fixture
async def store(leaky_url: str, clock: Clock) -> AsyncIterator[Store]:
    """The same, opened, without rows."""
    async with Store.open(leaky_url, clock=clock) as opened:
        async with opened.begin() as db:
            everything: list[Any] = [*metadata.sorted_tables, *tables.metadata.sorted_tables]
            for table in reversed(everything):
                await db.execute(table.delete())
        yield opened
