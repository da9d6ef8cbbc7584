"""What lives as long as the process, whatever a reload changes: store, ledger, counters, windows."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from ..ledger import Ledger
from ..ledger.sqlite import SqliteCommitter
from ..observability.access_log import AccessLog
from ..observability.log_writer import LogWriter
from ..observability.metrics import Instruments, SharedValues
from ..proxy.asgi_upstream import ORIGIN, AsgiTransport
from ..proxy.replica import Replicas
from ..ratelimit.leaky_bucket import open_buckets
from ..ratelimit.redis import open_redis
from ..ratelimit.windows import LocalSlots, LocalWindows
from ..store import Store
from .from_config import defaults_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from .. import config
    from ..config import Config
    from ..ledger.commit import Committer
    from ..ratelimit.availability import Availability
    from ..ratelimit.leaky_bucket import Buckets
    from ..ratelimit.windows import Slots, Windows


@dataclass(frozen=True, slots=True)
class Runtime:
    """See the module's text. Made by `open_runtime`."""

    store: Store
    ledger: Ledger
    instruments: Instruments
    windows: Windows
    slots: Slots
    http: httpx.AsyncClient
    access_log: AccessLog
    fail_open: bool
    buckets: Buckets
    limits_fail_open: bool
    inner: ASGIApp | None = None
    """The app that the gate is put around, if any. `http` reaches it at `proxy.asgi_upstream.ORIGIN`."""
    replicas: Replicas = field(default_factory=Replicas)
    """What is known of the upstreams' replicas: a reload forgets nothing."""
    limits_availability: Availability | None = None
    """Whether the store that limits are counted in answers; None where that is this process."""


@asynccontextmanager
async def open_runtime(
    config: Config,
    *,
    counters: Path | None = None,
    inner: ASGIApp | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Runtime]:
    """Open the store and what stands on it.

    `counters` is the folder in which several workers of a host count their metrics together; `inner` is
    the app that the gate is put around, if any; `clock` tells seconds since the epoch. Raises `StoreError`
    if that cannot be done.
    """
    settings = config.store
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            Store.open(
                settings.url.reveal(),
                clock=clock,
                synchronous=settings.synchronous,
                busy_timeout=settings.busy_timeout,
            )
        )
        ledger = await stack.enter_async_context(
            Ledger.open(
                store,
                partial(_committer, store, settings),
                defaults=defaults_of(config),
                journals=settings.journals,
                fail_open=settings.fail_open,
            )
        )
        http = await stack.enter_async_context(_http(inner))
        buckets = await stack.enter_async_context(open_buckets(config.redis.url))
        windows, slots, availability = await _shared(config, stack, clock)
        cells = SharedValues.open(counters)
        stack.callback(cells.close)
        instruments = Instruments(cells)
        writer = LogWriter(
            sys.stdout.buffer, name="access log", on_drop=instruments.log_dropped("access").inc
        )
        stack.callback(writer.close)
        access_log = AccessLog(writer)
        yield Runtime(
            store,
            ledger,
            instruments,
            windows,
            slots,
            http,
            access_log,
            settings.fail_open,
            buckets,
            config.redis.fail_open,
            inner,
            limits_availability=availability,
        )


def _http(inner: ASGIApp | None) -> httpx.AsyncClient:
    mounts = {} if inner is None else {ORIGIN: AsgiTransport(inner)}
    return httpx.AsyncClient(trust_env=False, mounts=mounts)


async def _shared(
    config: Config, stack: AsyncExitStack, clock: Callable[[], float]
) -> tuple[Windows, Slots, Availability | None]:
    """What limits count in: Redis where gate.toml names one, else this process's memory."""
    redis = config.redis
    if redis.url is None:
        return LocalWindows(clock=clock), LocalSlots(), None
    return await stack.enter_async_context(
        open_redis(redis.url.reveal(), timeout=redis.timeout, prefix=redis.prefix, clock=clock)
    )


def _committer(store: Store, settings: config.Store) -> Committer:
    """The ledger's hot write path into the database of `store`."""
    if store.url.get_backend_name() == "postgresql":
        from ..ledger.postgres import PostgresCommitter  # noqa: PLC0415 - needs the extra `cluster`

        return PostgresCommitter(store.url, timeout=settings.busy_timeout)
    return SqliteCommitter(
        Path(store.url.database or ""),
        synchronous=settings.synchronous,
        busy_timeout=settings.busy_timeout,
    )
