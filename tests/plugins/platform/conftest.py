"""What the tests of the platform share: its tables, a trainer that follows a script, a model that can be trained."""

import asyncio
import importlib.util
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import copy

import pytest
from servers import serve
from stores import Clock, clock, postgres_url

from llmgate.store import CORE, Store, migrate
from llmgate_platform.tables import MIGRATIONS
from plugins.conftest import OpenGate

from .engines import FakeVllm
from .gate import OpenPlatform, PlatformGate, opener

__all__ = ["clock", "postgres_url"]

TRAINING = ("torch", "transformers", "peft", "gguf")
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def training() -> None:
    """Skips where the extra `training` is not installed; fails where it has to be.

    In CI these tests take their turn by themselves, whether or not an earlier run has left torch behind.
    """
    wanted = bool(os.environ.get("LLMGATE_TEST_TRAINING"))
    missing = [name for name in TRAINING if importlib.util.find_spec(name) is None]
    if missing:
        reason = f"{', '.join(missing)} is not installed: `make test-training` runs these tests"
        pytest.fail(reason) if wanted else pytest.skip(reason)
    if os.environ.get("CI") and not wanted:
        pytest.skip("`make test-training` runs these tests")


@pytest.fixture(scope="session")
def tiny_model(training: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF of two layers with random weights."""
    file = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    subprocess.run([sys.executable, str(HERE / "tiny_model.py"), str(file)], check=True)
    return file


@pytest.fixture(scope="session")
def migrated_platform(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store with the plugin's tables, to be copied."""
    path = tmp_path_factory.mktemp("platform") / "gate.db"
    asyncio.run(migrate(f"sqlite:///{path}", sets=[CORE, MIGRATIONS]))
    return path


@pytest.fixture
def platform_url(migrated_platform: Path, tmp_path: Path) -> str:
    copy(migrated_platform, tmp_path / "gate.db")
    return f"sqlite:///{tmp_path / 'gate.db'}"


@pytest.fixture
async def platform_store(platform_url: str, clock: Clock) -> AsyncIterator[Store]:
    async with Store.open(platform_url, clock=clock) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def each_url(request: pytest.FixtureRequest, migrated_platform: Path) -> str:
    """A database with the plugin's tables: of one kind, then of the other."""
    if request.param == "sqlite":
        sqlite: str = request.getfixturevalue("platform_url")
        return sqlite
    url: str = request.getfixturevalue("postgres_url")
    asyncio.run(migrate(url, sets=[CORE, MIGRATIONS]))
    return url


@pytest.fixture
async def each_store(each_url: str, clock: Clock) -> AsyncIterator[Store]:
    async with Store.open(each_url, clock=clock) as opened:
        yield opened


@pytest.fixture
def engine() -> FakeVllm:
    return FakeVllm()


@pytest.fixture
async def open_platform(
    open_config: OpenGate, migrated_platform: Path, tmp_path: Path, engine: FakeVllm
) -> AsyncIterator[OpenPlatform]:
    """Opens gates of config/platform.toml in front of `engine`."""
    copy(migrated_platform, tmp_path / "gate.db")
    async with serve(engine) as url:
        yield opener(open_config, tmp_path, url)


@pytest.fixture
async def platform(open_platform: OpenPlatform) -> AsyncIterator[PlatformGate]:
    async with open_platform() as gate:
        yield gate
