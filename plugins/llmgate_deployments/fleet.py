"""The deployments in the store, and behind each that is active an upstream of the gate.

Rows are the truth. Whenever anything in the store has changed, in this process or another, the next request
reads them again and brings the upstreams in line, so that what an admin writes holds at once in every worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import sqlalchemy as sa

from llmgate.plugin.api import (
    BadRequest,
    ConfigError,
    Conflict,
    NotFound,
    Origin,
    RouteSettings,
    UpstreamFailed,
)

from .serving import Serving
from .tables import deployments

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmgate.plugin.api import DynamicUpstreams, Store, UpstreamSettings

RECHECK = 60.0
"""Seconds after which rows are read again although nobody announced a change."""

API = "/v1"
LATEST = ":latest"
"""The tag that Ollama adds to a model's name that has none."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A row. Times are seconds since the epoch."""

    id: int
    name: str
    host: str
    port: int
    deployment_type: str
    description: str | None
    is_active: bool
    created_at: float
    updated_at: float

    @property
    def url(self) -> str:
        """The root of the server."""
        return url_of(self.host, self.port)

    @property
    def upstream(self) -> str:
        """What the ledger and the metrics call it. No upstream of gate.toml can have a colon in its name."""
        return f"{UPSTREAM}{self.id}"


UPSTREAM = "deployment:"
_COLUMNS = deployments.c[*Deployment.__dataclass_fields__]


class Fleet:
    """See the module's text. `settings_of` makes the settings of an upstream from its URL; `route` is its name."""

    def __init__(
        self,
        store: Store,
        backends: DynamicUpstreams,
        settings_of: Callable[[str], UpstreamSettings],
        *,
        route: str,
    ) -> None:
        self._store = store
        self._backends = backends
        self._settings_of = settings_of
        self._route = route
        self._serving: dict[int, Serving] = {}
        self._stamp: int | None = None
        self._read_again_at = 0.0
        self._reading = asyncio.Lock()

    async def all(self) -> list[Deployment]:
        """Every deployment, oldest first."""
        async with self._store.connect() as db:
            return [Deployment(*row) for row in await db.execute(sa.select(*_COLUMNS).order_by("id"))]

    async def by_id(self, deployment_id: int) -> Deployment:
        """The deployment with this id. Raises `NotFound`."""
        async with self._store.connect() as db:
            row = (await db.execute(sa.select(*_COLUMNS).where(deployments.c.id == deployment_id))).first()
        if row is None:
            raise _no_deployment()
        return Deployment(*row)

    async def create(self, values: Mapping[str, Any]) -> Deployment:
        """A new deployment. Raises `BadRequest` for an address that may not be asked, `Conflict` for a taken name."""
        await self._backends.examine(url_of(values["host"], values["port"]))
        now = self._store.clock()
        row = {**values, "is_active": True, "created_at": now, "updated_at": now}
        insert = self._store.insert(deployments).values(row).on_conflict_do_nothing()
        async with self._store.change() as db:
            created = (await db.execute(insert.returning(*_COLUMNS))).first()
            if created is None:
                raise _taken()
            return Deployment(*created)

    async def update(self, deployment_id: int, values: Mapping[str, Any]) -> Deployment:
        """Change what `values` has. Raises as `create` does, and `NotFound`."""
        present = await self.by_id(deployment_id)
        changed = replace(present, **values)
        if changed.url != present.url or (changed.is_active and not present.is_active):
            await self._backends.examine(changed.url)
        same_name = (deployments.c.name == changed.name) & (deployments.c.id != deployment_id)
        update = deployments.update().where(deployments.c.id == deployment_id)
        async with self._store.change() as db:
            await self._store.serialize(db, "deployments")
            if await db.scalar(sa.select(deployments.c.id).where(same_name)):
                raise _taken()
            values = {**values, "updated_at": self._store.clock()}
            row = (await db.execute(update.values(values).returning(*_COLUMNS))).first()
            if row is None:
                raise _no_deployment()
            return Deployment(*row)

    async def delete(self, deployment_id: int) -> None:
        """Delete a deployment; requests that it is answering go on. Raises `NotFound`."""
        async with self._store.change() as db:
            deleted = await db.execute(deployments.delete().where(deployments.c.id == deployment_id))
            if not deleted.rowcount:
                raise _no_deployment()

    async def active(self) -> Sequence[Serving]:
        """What serves now, oldest first."""
        if self._outdated():
            async with self._reading:
                if self._outdated():
                    await self._read()
        return list(self._serving.values())

    async def one(self, deployment_id: int) -> Serving:
        """What serves for an active deployment. Raises `NotFound`."""
        await self.active()
        serving = self._serving.get(deployment_id)
        if serving is None:
            raise NotFound(f"There is no active deployment {deployment_id}.")
        return serving

    async def having(self, model: str, deployment_id: int | None) -> Serving:
        """The given deployment, or the first healthy one, if it has the model.

        Raises `NotFound` where the model or the deployment is not there, `UpstreamFailed` where nobody
        could be asked.
        """
        asked = [await self.one(deployment_id)] if deployment_id is not None else await self._candidates()
        found = await asyncio.gather(*(_models(serving) for serving in asked))
        for serving, models in zip(asked, found, strict=True):
            if models is not None and (model in models or model + LATEST in models):
                return serving
        if found and all(models is None for models in found):
            raise _nobody()
        raise NotFound(f"There is no deployment that has the model {model}.")

    async def models(self) -> list[str]:
        """The models of all that are healthy, each once. Raises `NotFound` where there is no deployment.

        Raises `UpstreamFailed` where none of them answers.
        """
        asked = await self._candidates()
        if not asked:
            raise NotFound("There is no active deployment.")
        found = await asyncio.gather(*(_models(serving) for serving in asked))
        if all(models is None for models in found):
            raise _nobody()
        return list(dict.fromkeys(name for models in found for name in models or ()))

    async def _candidates(self) -> Sequence[Serving]:
        active = await self.active()
        return [serving for serving in active if serving.healthy] or active

    def _outdated(self) -> bool:
        moved = self._store.changes.current() != self._stamp
        return moved or self._store.clock() >= self._read_again_at

    async def _read(self) -> None:
        stamp = self._store.changes.current()
        wanted = {each.id: each for each in await self.all() if each.is_active}
        for gone in [old for old in self._serving.values() if not old.serves(wanted.get(old.deployment_id))]:
            del self._serving[gone.deployment_id]
            await self._backends.remove(gone.backend)
        self._serving = {
            each.id: self._serving.get(each.id) or await self._serve(each) for each in wanted.values()
        }
        self._stamp, self._read_again_at = stamp, self._store.clock() + RECHECK

    async def _serve(self, deployment: Deployment) -> Serving:
        settings = self._settings_of(deployment.url)
        route = RouteSettings(path=API, upstream=deployment.upstream, name=self._route, quota_status=402)
        backend = await self._backends.add(deployment.upstream, settings, route)
        return Serving(deployment.id, deployment.url, backend, self._backends.http, self._store.clock)


def url_of(host: str, port: int) -> str:
    """The root of the server at `host`: a name or address, or a URL, whose scheme is http if it has none.

    Raises `BadRequest`.
    """
    written = host if "://" in host else f"http://{host}"
    if not (written.isascii() and written.isprintable()):
        raise BadRequest("The host holds characters that no address has.", param="host")
    try:
        origin = Origin.parse(written)
        # Not every name can be looked up or asked (RFC 5890): better found here than by each chat.
        origin.host.encode("idna")
        httpx.Request("GET", origin.url)
    except (ConfigError, httpx.InvalidURL, UnicodeError) as error:
        raise BadRequest(f"host: {error}", param="host") from error
    if urlsplit(written).port not in (None, port):
        raise BadRequest(f"The host names another port than {port}. Leave it out there.", param="host")
    return replace(origin, port=port, path=origin.path.removesuffix(API.encode())).url


def deployment_of(upstream: str) -> int | None:
    """The deployment that an upstream's name in the ledger stands for, if it is one."""
    number = upstream.removeprefix(UPSTREAM)
    return int(number) if number != upstream and number.isdigit() else None


async def _models(serving: Serving) -> list[str] | None:
    """The models of a deployment; None if it cannot be asked."""
    try:
        return await serving.models()
    except UpstreamFailed:
        return None


def _nobody() -> UpstreamFailed:
    return UpstreamFailed("No deployment could be reached.")


def _no_deployment() -> NotFound:
    return NotFound("There is no such deployment.")


def _taken() -> Conflict:
    return Conflict("Another deployment has this name.", param="name")
