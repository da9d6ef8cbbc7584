"""What lives as long as the process, whatever a reload changes: store, ledger, counters, windows."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..ledger import Ledger
from ..ledger.sqlite import SqliteCommitter
from ..middleware.body_budget import BodiesInMemory
from ..observability.access_log import AccessLog
from ..observability.log_writer import LogWriter
from ..observability.metrics import Instruments, SharedValues
from ..proxy.admission import Admissions
from ..proxy.replica import Replicas
from ..ratelimit.store import LimitsStore, open_limits_store
from ..store import Store
from .from_config import defaults_of, durability_of
from .http_client import HttpClient

if TYPE_CHECKING:
    import httpx
    from starlette.types import ASGIApp

    from .. import config
    from ..config import Config
    from ..ledger.commit import Committer


@dataclass(frozen=True, slots=True)
class Runtime:
    """See the module's text. Made by `open_runtime`."""

    store: Store
    ledger: Ledger
    instruments: Instruments
    http_client: HttpClient
    access_log: AccessLog
    fail_open: bool
    limits: LimitsStore
    inner: ASGIApp | None = None
    """The app that the gate is put around, if any. `http` reaches it at `proxy.asgi_upstream.ORIGIN`."""
    bodies: BodiesInMemory = field(default_factory=BodiesInMemory)
    """What request bodies take of this process's memory."""
    replicas: Replicas = field(default_factory=Replicas)
    """What is known of the upstreams' replicas: a reload forgets nothing."""
    admissions: Admissions = field(default_factory=Admissions)
    """Who waits for a place at an upstream: a reload sends nobody away."""

    @property
    def http(self) -> httpx.AsyncClient:
        """For what is not the data path. See `HttpClient`."""
        return self.http_client.get()


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
                durability=durability_of(config),
            )
        )
        http = HttpClient(inner)
        stack.push_async_callback(http.aclose)
        limits = await stack.enter_async_context(limits_store_of(config))
        shared_values = SharedValues.open(counters)
        stack.callback(shared_values.close)
        instruments = Instruments(shared_values)
        writer = LogWriter(
            sys.stdout.buffer, name="access log", on_drop=instruments.log_dropped("access").inc
        )
        stack.callback(writer.close)
        access_log = AccessLog(writer)
        yield Runtime(
            store,
            ledger,
            instruments,
            http,
            access_log,
            settings.fail_open,
            limits,
            inner,
            admissions=Admissions(instruments),
        )


def limits_store_of(config: Config) -> AbstractAsyncContextManager[LimitsStore]:
    """What limits count in: this process's memory, where gate.toml names nothing."""
    settings = config.limits_store
    return open_limits_store(
        None if settings.url is None else settings.url.reveal(),
        timeout=settings.timeout,
        prefix=settings.prefix,
        fail_open=settings.fail_open,
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
