"""Which model answers where: base models at their upstreams, adapters where their engine has them.

One process of each host keeps the engines in line with the store (`Keeper`); every process knows from `Targets` where
to send a request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmgate.plugin.api import HealthSettings, RouteSettings, Secret, Unavailable, UpstreamSettings

from ..models import ERROR
from .llama import Announced, Servers, announcement_file, read_announcement
from .targets import NOT_YET, REFUSED, Target, base_target
from .vllm import ADAPTER_FIELD, Replica

if TYPE_CHECKING:
    from llmgate.plugin.api import DynamicUpstream, DynamicUpstreams, Services, Store

    from ..artifacts import Artifacts
    from ..models import Catalog, ModelRow
    from ..settings import ModelSettings, Settings

log = logging.getLogger("llmgate.platform")

POLL_INTERVAL_S = 0.25
RECONCILE_INTERVAL_S = 2.0


class Targets:
    """Where models answer now. `routes` has the route of each base model, `name` is the plugin's."""

    def __init__(
        self,
        gate: Services,
        backends: DynamicUpstreams,
        artifacts: Artifacts,
        routes: Mapping[str, RouteSettings],
        settings: Settings,
        *,
        name: str,
    ) -> None:
        self._gate = gate
        self._backends = backends
        self._file = announcement_file(artifacts)
        self._routes = routes
        self._context = settings.llama_context
        self._name = name
        self._servers: dict[str, tuple[Announced, DynamicUpstream]] = {}

    def of(self, row: ModelRow, base: ModelSettings) -> Target:
        """Where a model answers. Raises `Unavailable` where its adapter is not served (yet)."""
        route = self._routes[base.name]
        dialect = self._gate.config.upstreams[base.upstream].dialect
        target = base_target(self._gate.routes[route.name], route, base, dialect)
        if row.job_id is None:
            return target
        if row.status == ERROR:
            raise Unavailable(REFUSED)
        if base.served_by == "vllm":
            # Asked for as its base, and priced so; the layer of the route puts its name in (see `layer`).
            return Target(target.app, target.path, base.upstream_model, dialect, {ADAPTER_FIELD: row.job_id})
        announced, upstream = self._servers.get(base.name, (None, None))
        if announced is None or upstream is None or row.job_id not in announced.jobs:
            raise Unavailable(NOT_YET)
        extra = {"lora": announced.lora(row.job_id)}
        return Target(upstream.app, "/v1/completions", base.upstream_model, "llama_server", extra)

    def address(self, target: Target, base: ModelSettings) -> tuple[str, dict[str, str]]:
        """Root and headers of a replica that answers for `target`: for what goes past the layers."""
        if "lora" in target.extra:
            announced = self._servers[base.name][0]
            return announced.url, announced.headers
        upstream = self._gate.upstreams[base.upstream]
        headers = {name.decode(): value.decode() for name, value in upstream.own_headers().items()}
        healthy = [state.url for state in upstream.state() if state.healthy]
        return (healthy or [str(url) for url in self._gate.config.upstreams[base.upstream].urls])[0], headers

    async def watch(self) -> None:
        """Follow what is announced of this host's llama.cpp servers, until cancelled."""
        seen: tuple[int, int] | None = None
        while True:
            stamp = _stamp(self._file)
            if stamp != seen:
                await self._take_over(read_announcement(self._file))
                seen = stamp
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _take_over(self, announced: Mapping[str, Announced]) -> None:
        old = self._servers
        self._servers = {
            name: old[name]
            if name in old and old[name][0] == server
            else (server, await self._add(name, server))
            for name, server in announced.items()
        }
        kept = {id(upstream) for _, upstream in self._servers.values()}
        for _, upstream in old.values():
            if id(upstream) not in kept:
                await self._backends.remove(upstream)

    async def _add(self, name: str, server: Announced) -> DynamicUpstream:
        upstream = f"platform:{name}"  # no upstream of gate.toml has a colon in its name
        settings = UpstreamSettings(
            urls=(server.url,),
            dialect="llama_server",
            api_key=Secret(server.key),
            context_length=self._context,
            health=HealthSettings(enabled=False),
        )
        route = RouteSettings(path="/v1", upstream=upstream, name=self._name, quota_status=429)
        return await self._backends.add(upstream, settings, route)


class Keeper:
    """Keeps the engines in line with the store. In one process of a host at a time."""

    def __init__(self, gate: Services, catalog: Catalog, artifacts: Artifacts, settings: Settings) -> None:
        self._store: Store = gate.store
        self._catalog = catalog
        self._artifacts = artifacts
        self._settings = settings
        self._bases: Sequence[ModelSettings] = settings.models
        self._refused: set[int] | None = None
        self._replicas = {
            name: [
                Replica(
                    gate.http,
                    str(url),
                    {
                        key.decode(): value.decode()
                        for key, value in gate.upstreams[name].own_headers().items()
                    },
                )
                for url in gate.config.upstreams[name].urls
            ]
            for name in {base.upstream for base in settings.models if base.served_by == "vllm"}
        }

    async def run(self) -> None:
        """Until cancelled."""
        servers = Servers(self._artifacts, self._settings)
        try:
            while True:
                stamp = self._store.changes.current()
                await self._reconcile(servers)
                waited = 0.0
                while waited < RECONCILE_INTERVAL_S and self._store.changes.current() == stamp:
                    await asyncio.sleep(POLL_INTERVAL_S)
                    waited += POLL_INTERVAL_S
        finally:
            await servers.aclose()

    async def _reconcile(self, servers: Servers) -> None:
        adapters = await self._catalog.adapters()
        refused: set[int] = set()
        for base in self._bases:
            if base.served_by == "llama.cpp":
                refused |= await servers.reconcile(base, adapters.get(base.name, []))
        withdrawn = await self._catalog.withdrawn() if self._replicas else []
        for name, replicas in self._replicas.items():
            mine = [base.name for base in self._bases if base.upstream == name and base.served_by == "vllm"]
            wanted = {job: self._seen_by_engine(job) for base in mine for job in adapters.get(base, [])}
            each = await asyncio.gather(*(replica.reconcile(wanted, withdrawn) for replica in replicas))
            refused |= set.intersection(*map(set, each))  # whom one of them has may be asked
        if refused != self._refused:
            await self._catalog.note_refused(refused)
            self._refused = refused

    def _seen_by_engine(self, job_id: int) -> Path:
        folder = self._artifacts.adapter(job_id).absolute()
        if self._settings.engine_artifacts is None:
            return folder
        return Path(self._settings.engine_artifacts) / folder.relative_to(self._artifacts.root.absolute())


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
