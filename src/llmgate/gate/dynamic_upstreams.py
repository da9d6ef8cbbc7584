"""Upstreams that are not in gate.toml: a plugin adds and removes them while the gate runs.

    async with gate.backends(allowed=settings.allowed_networks) as backends:
        backend = await backends.add("deployment:1", settings, route)
        await backend.app(scope, receive, send)     # limits, quotas, accounting, relay
        await backends.remove(backend)

They are what an upstream and a route of gate.toml are, except that nobody has to trust who named their
address: whatever is asked of them goes through a `AddressGuard`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from ..errors import BadRequest
from ..proxy.address_guard import AddressGuard
from ..proxy.engines.base import Origin, UpstreamError
from ..proxy.engines.httptools_engine import HttptoolsEngine
from ..proxy.health import HealthChecks
from ..proxy.questions import ask
from .from_config import known_models
from .route_stack import relay_of, route_middleware
from .stack import wrap
from .upstreams import health_of, upstream_of

if TYPE_CHECKING:
    import httpx
    from starlette.types import ASGIApp

    from ..config import Address, Config, Network, Route
    from ..config import Upstream as UpstreamSettings
    from ..proxy.upstreams import Upstream
    from .runtime import Runtime

EXAMINE_TIMEOUT_S = 3.0
"""Seconds that a server gets to show, before it is added, that it redirects nowhere."""


@dataclass(frozen=True, slots=True, eq=False)
class DynamicUpstream:
    """One of them: the upstream, and the layers of its route around the relay, without authentication."""

    upstream: Upstream
    app: ASGIApp


class DynamicUpstreams:
    """See the module's text. Made by `open_dynamic_upstreams`; `http` asks through the guard as well."""

    def __init__(
        self, config: Config, runtime: Runtime, guard: AddressGuard, engine: HttptoolsEngine
    ) -> None:
        self._config = config
        self._engine = engine
        self._guard = guard
        self._runtime = runtime
        self._open: dict[DynamicUpstream, AsyncExitStack] = {}

    @cached_property
    def http(self) -> httpx.AsyncClient:
        """For probes and lists, through the guard. Nothing of it is to be closed: its connections are the engine's."""
        import httpx  # noqa: PLC0415 - 9 MB, for plugins

        from ..proxy.engines.transport import EngineTransport  # noqa: PLC0415 - imports httpx

        return httpx.AsyncClient(transport=EngineTransport(self._engine), trust_env=False)

    async def add(self, name: str, settings: UpstreamSettings, route: Route) -> DynamicUpstream:
        """Serve an upstream called `name` from now on, probed as its `settings` say.

        The route's path is part of the requests that its app takes, as it is of gate.toml's routes.
        """
        upstream = upstream_of(name, settings, self._engine, self._runtime.replicas, self._runtime.admissions)
        upstream.take_over()
        config = msgspec.structs.replace(self._config, upstreams={name: settings})
        upstream.model_names = frozenset(known_models(msgspec.structs.replace(config, routes=(route,))))
        relay = relay_of(route, config, self._runtime, {name: upstream})
        layers = route_middleware(route, config, self._runtime, {name: upstream}, {})
        backend = DynamicUpstream(upstream, wrap(relay, layers))
        stack = AsyncExitStack()
        if (health := health_of(settings)) is not None:
            await stack.enter_async_context(HealthChecks({upstream: health}))
        self._runtime.instruments.show(upstream)
        stack.callback(self._runtime.instruments.hide, upstream)
        self._open[backend] = stack
        return backend

    async def remove(self, backend: DynamicUpstream) -> None:
        """Forget an upstream. Requests that are under way are answered to their end."""
        await self._open.pop(backend).aclose()

    async def examine(self, url: str) -> None:
        """Raise `BadRequest` if the server at `url` may not be asked, or sends those who ask elsewhere.

        A server that does not answer now passes: the guard looks at every connection that is made later,
        and no redirect is ever followed.
        """
        origin = Origin.parse(url)
        try:
            async with asyncio.timeout(EXAMINE_TIMEOUT_S):
                await self._guard.addresses(origin.host, origin.port)
                answer = await ask(self._engine, origin, "/v1/models", {}, timeout=EXAMINE_TIMEOUT_S)
        except PermissionError as error:
            raise BadRequest(f"{origin.url} cannot be used: {error}.") from error
        except (OSError, TimeoutError, UpstreamError):
            return
        if 300 <= answer.status < 400:
            raise BadRequest(f"{origin.url} cannot be used: it redirects. Give the address it redirects to.")

    async def aclose(self) -> None:
        """Remove all, and close every connection."""
        for backend in list(self._open):
            await self.remove(backend)


@asynccontextmanager
async def open_dynamic_upstreams(
    config: Config, runtime: Runtime, own: Iterable[Address], *, allowed: Sequence[Network] = ()
) -> AsyncIterator[DynamicUpstreams]:
    """Backends of a gate by `config` that listens at `own`. In `allowed` networks, every address may be asked."""
    ports = {address.port for address in own if address.path is None}
    guard = AddressGuard(own_ports=ports, allowed=allowed)
    engine = HttptoolsEngine(guard=guard)
    backends = DynamicUpstreams(config, runtime, guard, engine)
    try:
        yield backends
    finally:
        await backends.aclose()
        await engine.aclose()
