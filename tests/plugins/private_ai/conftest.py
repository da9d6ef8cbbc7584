"""The gate with a mail server, and a PostgreSQL server with pgvector for the run."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from shutil import copy

import pytest
from argon2 import PasswordHasher
from mail_server import Mailbox, smtp_server
from pgvector_server import postgres
from stores import Clock

from llmgate.store import CORE, migrate
from llmgate_private_ai.tables import MIGRATIONS
from plugins.private_ai.gate import NOON, Running, running_gate

__all__ = ["postgres"]

OpenGate = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture(scope="session")
def private_ai_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated store."""
    path = tmp_path_factory.mktemp("private_ai") / "gate.db"
    asyncio.run(migrate(f"sqlite:///{path}", sets=(CORE, MIGRATIONS)))
    return path


@pytest.fixture
def store_file(private_ai_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("llmgate.identity.passwords.PasswordHasher", lambda: cheap)
    return Path(copy(private_ai_file, tmp_path / "gate.db"))


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with smtp_server() as mailbox:
        yield mailbox


@pytest.fixture
def open_gate(store_file: Path, mailbox: Mailbox, clock: Clock) -> OpenGate:
    """Opens the gate, always on the same store."""
    return partial(running_gate, store_file, mailbox, clock)


@pytest.fixture
async def running(open_gate: OpenGate) -> AsyncIterator[Running]:
    """The gate while its region's PostgreSQL server is away."""
    async with open_gate() as running:
        yield running


@pytest.fixture
async def token(running: Running) -> str:
    """An LLM token of Ann's."""
    await running.user("ann@example.com")
    token: str = (await running.token("ann@example.com"))["litellm_token"]
    return token
