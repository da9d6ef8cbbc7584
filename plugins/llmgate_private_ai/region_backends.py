"""What serves the models of each region: a route of gate.toml, or an upstream that was added at run time.

Rows are the truth. Whenever anything in the store has changed, in this process or another, the next request
reads them again, so that what an admin writes holds at once in every worker.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from llmgate.plugin.api import RouteSettings, Secret, Unauthenticated, Unavailable, UpstreamSettings

from .keys import State
from .regions import ROUTE
from .tables import keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp

    from llmgate.plugin.api import DynamicUpstream, DynamicUpstreams, Services

    from .regions import Region, Regions
    from .settings import ModelSettings

REMEMBERED = 10_000
RECHECK = 60.0
"""Seconds after which rows are read again although nobody announced a change."""
API = "/v1"


class RegionBackends:
    """See the module's text. `name` is what limits of gate.toml call the routes of the regions."""

    def __init__(
        self,
        gate: Services,
        regions: Regions,
        upstreams: DynamicUpstreams,
        settings: ModelSettings,
        *,
        name: str,
    ) -> None:
        self._gate = gate
        self._regions = regions
        self._upstreams = upstreams
        self._settings = settings
        self._name = name
        self._stamp: int | None = None
        self._read_again_at = 0.0
        self._reading = asyncio.Lock()
        self._apps: dict[int, ASGIApp] = {}
        self._open: dict[tuple[int, str, str], DynamicUpstream] = {}
        self._region_of: OrderedDict[int, int] = OrderedDict()

    async def app_of(self, api_key_id: int | None) -> ASGIApp:
        """The layers and the relay that a key's requests go through. Raises `Unauthenticated` for no key of ours."""
        await self._follow()
        region_id = None if api_key_id is None else await self._region(api_key_id)
        if region_id is None:
            raise Unauthenticated("The API key is not one for models.")
        app = self._apps.get(region_id)
        if app is None:
            raise Unavailable("The region of this key is not served at the moment.")
        return app

    async def _region(self, api_key_id: int) -> int | None:
        """The region of a live key."""
        known = self._region_of.get(api_key_id)
        if known is None:
            here = (keys.c.api_key_id == api_key_id) & (keys.c.state == State.LIVE)
            async with self._gate.store.connect() as db:
                known = await db.scalar(sa.select(keys.c.region_id).where(here))
            if known is not None:
                self._region_of[api_key_id] = known
                if len(self._region_of) > REMEMBERED:
                    self._region_of.popitem(last=False)
        return known

    async def _follow(self) -> None:
        store = self._gate.store
        if store.changes.current() == self._stamp and store.clock() < self._read_again_at:
            return
        async with self._reading:
            stamp = store.changes.current()
            if stamp == self._stamp and store.clock() < self._read_again_at:
                return
            self._region_of.clear()
            await self._read(await self._regions.all())
            self._stamp, self._read_again_at = stamp, store.clock() + RECHECK

    async def _read(self, regions: list[Region]) -> None:
        """Bring the upstreams in line. Inactive regions serve on: their keys are still there."""
        wanted = {
            self._name_of(region): region for region in regions if not region.backend_url.startswith(ROUTE)
        }
        for name in self._open.keys() - wanted.keys():
            await self._upstreams.remove(self._open.pop(name))
        for name in wanted.keys() - self._open.keys():
            self._open[name] = await self._add(wanted[name])
        apps: dict[int, ASGIApp] = {}
        for region in regions:
            app = self._app(region, self._gate.routes)
            if app is not None:
                apps[region.id] = app
        self._apps = apps

    def _app(self, region: Region, routes: Mapping[str, ASGIApp]) -> ASGIApp | None:
        if region.backend_url.startswith(ROUTE):
            return routes.get(region.backend_url.removeprefix(ROUTE))
        return self._open[self._name_of(region)].app

    async def _add(self, region: Region) -> DynamicUpstream:
        settings = self._settings
        upstream = UpstreamSettings(
            urls=(region.backend_url,),
            dialect=settings.dialect,
            api_key=Secret(region.backend_key) if region.backend_key else None,
            context_length=settings.context_length,
            max_output_tokens=settings.max_output_tokens,
        )
        # No upstream of gate.toml can have a colon in its name.
        name = f"region:{region.id}"
        route = RouteSettings(path=API, upstream=name, name=self._name, quota_status=402)
        return await self._upstreams.add(name, upstream, route)

    @staticmethod
    def _name_of(region: Region) -> Any:
        return region.id, region.backend_url, region.backend_key
