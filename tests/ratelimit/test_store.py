"""`[limits_store] url`: one suite for every storage that runs here.

memcached and a Redis cluster are started as programs of their own, where they are installed (Debian: `apt-get install
memcached redis-server`); without one its tests are skipped, and fail where CI is set.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from limits.storage import SCHEMES
from redis_server import LONG, REDIS

from llmgate.config.addresses import LIMITS_SCHEMES
from llmgate.errors import ConfigError, StoreError
from llmgate.ratelimit.leaky_bucket import Bucket
from llmgate.ratelimit.memory import MemoryStorage
from llmgate.ratelimit.store import LimitsStore, open_limits_store
from llmgate.ratelimit.strategies import ForeignWindows

CI = os.environ.get("CI")


def missing(reason: str) -> None:
    pytest.fail(reason) if CI else pytest.skip(reason)


@contextmanager
def program(name: str, *arguments: str) -> Iterator[None]:
    """A server for the tests, if it is installed."""
    binary = shutil.which(name)
    if binary is None:
        missing(f"{name} is not installed")
    assert binary is not None
    with subprocess.Popen(
        [binary, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.kill()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


async def listens(port: int) -> None:
    async with asyncio.timeout(LONG):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return


async def cluster(port: int) -> None:
    """All slots to the one server of this cluster."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"CLUSTER ADDSLOTSRANGE 0 16383\r\n")
    assert await reader.readline() == b"+OK\r\n"
    async with asyncio.timeout(LONG):
        state = b""
        while b"cluster_state:ok" not in state:
            writer.write(b"CLUSTER INFO\r\n")
            length = int((await reader.readline())[1:])
            state = await reader.readexactly(length + 2)
    writer.close()


@pytest.fixture(params=["memory", "redis", "redis+cluster", "redis+unix", "memcached"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    kind, port = request.param, free_port()
    if kind in ("memory", "redis"):
        yield "memory://" if kind == "memory" else REDIS
    elif kind == "memcached":
        pytest.importorskip("memcachio", reason="memcachio is not installed (the extra `memcached`)")
        with program("memcached", "-l", "127.0.0.1", "-p", str(port), "-u", "nobody"):
            await listens(port)
            yield f"memcached://127.0.0.1:{port}"
    else:
        pytest.importorskip("redis", reason="redis is not installed (the extra `cluster`)")
        clustered = kind == "redis+cluster"
        path = f"/tmp/llmgate-{uuid.uuid4().hex}.sock"  # noqa: S108 - a socket's path has to be short
        more = (
            ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
            if clustered
            else ["--unixsocket", path]
        )
        with program("redis-server", "--port", str(port), "--dir", str(tmp_path), "--save", "", *more):
            await listens(port)
            if clustered:
                await cluster(port)
            yield f"redis+cluster://127.0.0.1:{port}" if clustered else f"redis+unix://{path}"
        Path(path).unlink(missing_ok=True)  # noqa: ASYNC240 - a test's own file


@pytest.fixture
async def store(url: str) -> AsyncIterator[LimitsStore]:
    async with open_limits_store(url, prefix=f"llmgate-test:{uuid.uuid4().hex}", timeout=LONG) as opened:
        try:
            await opened.windows.peek("anything")
        except StoreError as error:
            missing(str(error))
        yield opened


async def test_a_window_counts_and_tells_when_it_ends(store: LimitsStore) -> None:
    counted = [await store.windows.count("k", 60), await store.windows.count("k", 60, 4)]
    assert [window.used for window in counted] == [1, 5]
    assert all(50 < window.left <= 60 for window in counted)
    assert (await store.windows.peek("k")).used == 5
    assert (await store.windows.peek("another")).used == 0


async def test_of_many_at_once_each_is_counted(store: LimitsStore) -> None:
    counted = await asyncio.gather(*(store.windows.count("k", 60) for _ in range(50)))
    assert sorted(window.used for window in counted)[-1] == 50


async def test_a_moving_window_lets_no_more_in_than_its_limit(store: LimitsStore, url: str) -> None:
    if url.startswith("memcached"):
        pytest.skip("memcached keeps no moving windows; the rules of gate.toml say so")
    entered = await asyncio.gather(*(store.windows.enter("k", 3, 60) for _ in range(10)))
    assert sum(good for good, _ in entered) == 3


async def test_slots_and_buckets_are_there_whatever_keeps_the_windows(store: LimitsStore) -> None:
    assert [await store.slots.acquire("k", 2) for _ in range(3)] == [True, True, False]
    for _ in range(2):
        store.slots.release("k")
    bucket = Bucket(10, 0.001)
    assert [(await store.buckets.pour("k", 6, bucket)).fits for _ in range(2)] == [True, False]


async def test_what_a_foreign_storage_does_not_share_stands_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("memcachio")
    async with open_limits_store("memcached://127.0.0.1:1") as store:
        assert isinstance(store.windows, ForeignWindows)
    assert "each process counts concurrent requests and leaky buckets for itself" in caplog.text


async def test_a_storage_that_is_away_is_known_to_be(caplog: pytest.LogCaptureFixture) -> None:
    """In the log, and for `/readyz` and the metrics."""
    pytest.importorskip("memcachio")
    async with open_limits_store("memcached://127.0.0.1:1", timeout=0.2) as store:
        with pytest.raises(StoreError):
            await store.windows.count("k", 60)
        assert store.availability is not None
        assert store.availability.failing
    assert "rate limits cannot be counted" in caplog.text


async def test_without_a_url_the_process_counts_for_itself() -> None:
    async with open_limits_store() as store:
        assert isinstance(store.windows, MemoryStorage)
        assert store.availability is None


@pytest.mark.parametrize("url", ["nonsense://somewhere", "memcached://nowhere", "memcached://"])
async def test_a_url_that_cannot_be_used_is_a_problem_of_gate_toml(url: str) -> None:
    with pytest.raises(ConfigError, match=r"limits_store\.url: "):
        async with open_limits_store(url):
            pass


def test_gate_toml_takes_every_scheme_of_the_library() -> None:
    theirs = {scheme.removeprefix("async+") for scheme in SCHEMES if scheme.startswith("async+")}
    assert {scheme for scheme in theirs if not scheme.startswith("llmgate-")} == set(LIMITS_SCHEMES)
