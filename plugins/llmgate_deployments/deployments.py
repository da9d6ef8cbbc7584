"""Deployments in the guide's words: who may add them is for the operations to say."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from llmgate.plugin.api import UpstreamFailed
from llmgate.plugin.kit.formats import Line, Prose, id_in_path, naive_iso
from llmgate.plugin.kit.resources import Resource
from llmgate.plugin.kit.shapes import filled

from .registry import Deployment

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmgate.plugin.api import Call, Clock

    from .fleet import Fleet

Host = Annotated[str, Meta(min_length=1, max_length=1024)]
Port = Annotated[int, Meta(ge=1, le=65_535)]


class NewDeployment(Struct, frozen=True):
    """Body of `POST /deployments`. `host` is a name, an address, or a URL without its port."""

    name: Line
    host: Host
    port: Port = 11_434
    deployment_type: Line = "local"
    description: Prose | None = None


class DeploymentChange(Struct, frozen=True):
    """Body of `PUT /deployments/{id}`: what is left out stays."""

    name: Line | UnsetType = UNSET
    host: Host | UnsetType = UNSET
    port: Port | UnsetType = UNSET
    deployment_type: Line | UnsetType = UNSET
    description: Prose | UnsetType | None = UNSET
    is_active: bool | UnsetType = UNSET


class ShownDeployment(Struct, frozen=True):
    """A deployment."""

    id: int
    name: str
    host: str
    port: int
    deployment_type: str
    description: str | None
    is_active: bool
    created_at: str
    updated_at: str


class Health(Struct, frozen=True):
    """How a deployment answers now: `status` is healthy, unhealthy or inactive."""

    deployment_id: int
    name: str
    status: str
    response_time_ms: float | None
    models: list[str]
    checked_at: str


class Deployments(Resource[Deployment]):
    """The operations. They raise `Refusal`s. `timer` tells seconds of a monotonic clock."""

    def __init__(self, fleet: Fleet, clock: Clock, *, timer: Callable[[], float] = time.monotonic) -> None:
        shown = partial(filled, ShownDeployment, time=naive_iso)
        super().__init__(fleet.registry, shown=shown, names=("name", "deployment_type"))
        self._fleet = fleet
        self._clock = clock
        self._timer = timer

    async def health(self, call: Call) -> Health:
        """Ask a deployment now."""
        deployment = await self._fleet.registry.by_id(id_in_path(call, "deployment"))
        if not deployment.is_active:
            return self._health(deployment, "inactive")
        serving = await self._fleet.one(deployment.id)
        started = self._timer()
        try:
            models = await serving.fetch_models()
        except UpstreamFailed:
            return self._health(deployment, "unhealthy")
        milliseconds = round((self._timer() - started) * 1000, 1)
        return self._health(deployment, "healthy", milliseconds, models)

    def _health(
        self,
        deployment: Deployment,
        status: str,
        milliseconds: float | None = None,
        models: list[str] | None = None,
    ) -> Health:
        now = naive_iso(self._clock())
        return Health(deployment.id, deployment.name, status, milliseconds, models or [], now)
