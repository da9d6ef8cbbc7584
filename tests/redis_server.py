"""The Redis that tests run on: `LLMGATE_TEST_REDIS` is the URL of a server, the usual local port without it.

Each test uses keys of its own. Without a server these tests are skipped, and fail where CI is set.
"""

import os
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from llmgate.errors import StoreError

if TYPE_CHECKING:
    from llmgate.ratelimit.redis_pipe import RedisPipe

REDIS = os.environ.get("LLMGATE_TEST_REDIS", "redis://127.0.0.1:6379/0")
LONG = 30.0


def no_redis(error: Exception) -> None:
    """Skip the test, or fail it where CI is set."""
    reason = f"no Redis answers at {REDIS}: {error}"
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture
def prefix() -> str:
    return f"llmgate-test:{uuid.uuid4().hex}"


@pytest.fixture
async def redis_pipe() -> AsyncIterator["RedisPipe"]:
    """The connection that all requests of a process share."""
    pytest.importorskip("hiredis", reason="hiredis is not installed (the extra `cluster`)")
    from llmgate.ratelimit.redis_pipe import RedisPipe

    pipe = RedisPipe(REDIS, timeout=LONG)
    try:
        await pipe.run("PING")
    except StoreError as error:
        no_redis(error)
    yield pipe
    await pipe.aclose()


@pytest.fixture
async def redis_client() -> AsyncIterator[Any]:
    """A client of the library `redis`."""
    client = pytest.importorskip("redis.asyncio").Redis.from_url(REDIS)
    try:
        await client.ping()
    except OSError as error:
        no_redis(error)
    yield client
    await client.aclose()
