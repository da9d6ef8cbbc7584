"""The deployments in the store, and behind each that is active an upstream of the gate.

Rows are the truth. Whenever anything in the store has changed, in this process or another, the next request
reads them again and brings the upstreams in line, so that what an admin writes holds at once in every worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmgate.plugin.api import NotFound, RouteSettings, Stamped, UpstreamFailed

from .registry import API, Registry
from .serving import Serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmgate.plugin.api import DynamicUpstreams, Store, UpstreamSettings

    from .registry import Deployment

LATEST = ":latest"
"""The tag that Ollama adds to a model's name that has none."""


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
        self.registry = Registry(store, backends)
        self._store = store
        self._backends = backends
        self._settings_of = settings_of
        self._route = route
        self._serving: dict[int, Serving] = {}
        self._up_to_date = Stamped(store, self._read)

    async def active(self) -> Sequence[Serving]:
        """What serves now, oldest first."""
        await self._up_to_date.get()
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

    async def _read(self) -> None:
        wanted = {each.id: each for each in await self.registry.all() if each.is_active}
        for gone in [old for old in self._serving.values() if not old.serves(wanted.get(old.deployment_id))]:
            del self._serving[gone.deployment_id]
            await self._backends.remove(gone.backend)
        self._serving = {
            each.id: self._serving.get(each.id) or await self._serve(each) for each in wanted.values()
        }

    async def _serve(self, deployment: Deployment) -> Serving:
        settings = self._settings_of(deployment.url)
        route = RouteSettings(path=API, upstream=deployment.upstream, name=self._route, quota_status=402)
        backend = await self._backends.add(deployment.upstream, settings, route)
        return Serving(deployment.id, deployment.url, backend, self._backends.http, self._store.clock)


async def _models(serving: Serving) -> list[str] | None:
    """The models of a deployment; None if it cannot be asked."""
    try:
        return await serving.models()
    except UpstreamFailed:
        return None


def _nobody() -> UpstreamFailed:
    return UpstreamFailed("No deployment could be reached.")
