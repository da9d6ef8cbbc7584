"""The store of rate limits that gate.toml names: in this process, in Redis, or in any storage of `limits`."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limits.errors import ConfigurationError
from limits.storage import storage_from_string

from ..background import running
from ..errors import ConfigError, extra_remedy
from .availability import Availability
from .leaky_bucket import LeakyBucket
from .memory import LocalSlots, MemoryStorage
from .strategies import ForeignWindows

if TYPE_CHECKING:
    from limits.aio.storage import Storage

    from .leaky_bucket import Buckets
    from .strategies import Slots, Windows

log = logging.getLogger("llmgate.ratelimit")

PREFIX = "llmgate"
TIMEOUT_S = 0.5


@dataclass(frozen=True, slots=True)
class LimitsStore:
    """What limits count in. `availability` is None where nothing can be away."""

    windows: Windows
    slots: Slots
    buckets: Buckets
    fail_open: bool = False
    availability: Availability | None = None


@asynccontextmanager
async def open_limits_store(
    url: str | None = None, *, timeout: float = TIMEOUT_S, prefix: str = PREFIX, fail_open: bool = False
) -> AsyncIterator[LimitsStore]:
    """The store at `url`, whose schemes are those of the `limits` library. It need not be up.

    `memory://` (and no URL) and `redis://` are our own storages, of one look for each count; others are the library's,
    which keep windows. `timeout` is in seconds, `prefix` begins every key. Raises `ConfigError` for a URL that cannot
    be used, or if the package for it is not installed.
    """
    async with AsyncExitStack() as stack:
        scheme = "memory" if url is None else url.partition("://")[0]
        if scheme == "memory":
            yield _local(MemoryStorage(), fail_open=fail_open)
        elif scheme in ("redis", "rediss"):
            yield await _in_redis(f"async+llmgate-{url}", stack, timeout, prefix, fail_open=fail_open)
        else:
            storage = _foreign(url or "", scheme, timeout)
            stack.push_async_callback(_close, storage)
            availability = Availability()
            windows = ForeignWindows(storage, prefix=prefix, timeout=timeout, availability=availability)
            log.warning(
                "limits_store: %s:// keeps windows alone: each process counts concurrent requests and leaky buckets "
                "for itself",
                scheme,
            )
            local = LeakyBucket(MemoryStorage())
            yield LimitsStore(windows, LocalSlots(), local, fail_open, availability)


def _local(storage: MemoryStorage, *, fail_open: bool) -> LimitsStore:
    return LimitsStore(storage, LocalSlots(), LeakyBucket(storage), fail_open)


async def _in_redis(
    url: str, stack: AsyncExitStack, timeout: float, prefix: str, *, fail_open: bool
) -> LimitsStore:
    try:
        from .redis import RedisStorage  # noqa: PLC0415 - needs the extra `cluster`
    except ImportError as error:
        raise ConfigError([f"limits_store.url: Redis needs hiredis: {extra_remedy('cluster')}"]) from error
    storage: Any = storage_from_string(url, prefix=prefix, timeout=timeout)
    assert isinstance(storage, RedisStorage)
    stack.push_async_callback(storage.aclose)
    await stack.enter_async_context(running(storage.slots.renew_often(), name="llmgate-slots"))
    buckets = LeakyBucket(storage, fail_open=fail_open)
    return LimitsStore(storage, storage.slots, buckets, fail_open, storage.pipe.availability)


def _foreign(url: str, scheme: str, timeout: float) -> Storage:
    options: dict[str, Any] = {}
    if url.endswith("://"):
        raise ConfigError([f"limits_store.url: {scheme}:// names no server"])
    if "redis" in scheme:  # the library's own, for clusters, sentinels and sockets, by redis-py
        options = {"implementation": "redispy", "socket_timeout": timeout, "socket_connect_timeout": timeout}
    elif "memcached" in scheme:
        options = {"connect_timeout": timeout, "read_timeout": timeout}
    try:
        storage: Any = storage_from_string(url if scheme.startswith("async+") else f"async+{url}", **options)
    except (ConfigurationError, TypeError, ValueError) as error:
        raise ConfigError([f"limits_store.url: {scheme}://: {error}"]) from error
    opened: Storage = storage
    return opened


async def _close(storage: Storage) -> None:
    """The library has no word for it: its clients have."""
    bridge = getattr(storage, "bridge", None)
    client = getattr(bridge, "storage", None) or getattr(bridge, "_storage", None)
    pool = getattr(client, "connection_pool", None)
    close = getattr(client, "aclose", None) or getattr(pool, "close", None)
    if close is not None:
        done = close()
        if inspect.isawaitable(done):
            await done
