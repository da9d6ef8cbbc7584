"""A deployment that serves: its upstream, and the models that it has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

from llmgate.plugin.api import UpstreamFailed, cards_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from llmgate.plugin.api import Clock, DynamicUpstream

    from .registry import Deployment

LIST_PATH = "/v1/models"
LIST_TIMEOUT_S = 5.0
"""Seconds that a deployment may take to list its models."""
BELIEVED_S = 10.0
"""Seconds for which the list is believed, or that there was none."""


class Serving:
    """See the module's text. `clock` tells seconds."""

    def __init__(
        self, deployment_id: int, url: str, backend: DynamicUpstream, http: httpx.AsyncClient, clock: Clock
    ) -> None:
        self.deployment_id = deployment_id
        self.backend = backend
        self._url = url
        self._http = http
        self._clock = clock
        self._models: list[str] | None = None
        self._ask_again_at = float("-inf")
        self._asking = asyncio.Lock()

    @property
    def app(self) -> ASGIApp:
        """The layers around the relay: limits, quotas, accounting."""
        return self.backend.app

    @property
    def healthy(self) -> bool:
        """Whether requests would be let through to it now."""
        return any(state.healthy and state.breaker != "open" for state in self.backend.upstream.state())

    def serves(self, deployment: Deployment | None) -> bool:
        """Whether this is what serves for the deployment as it is now."""
        return deployment is not None and deployment.url == self._url

    async def models(self) -> list[str]:
        """The names of its models, as it said lately. Raises `UpstreamFailed`."""
        async with self._asking:
            if self._clock() >= self._ask_again_at:
                try:
                    self._models = await self.fetch_models()
                except UpstreamFailed:
                    self._models = None
                self._ask_again_at = self._clock() + BELIEVED_S
        if self._models is None:
            raise self._silent()
        return self._models

    async def fetch_models(self) -> list[str]:
        """The names of its models, as it says now. Raises `UpstreamFailed`."""
        try:
            answer = await self._http.get(self._url + LIST_PATH, timeout=LIST_TIMEOUT_S)
            answer.raise_for_status()
            return [card["id"] for card in cards_of(answer.content)]
        except (httpx.HTTPError, ValueError) as error:
            raise self._silent() from error

    def _silent(self) -> UpstreamFailed:
        return UpstreamFailed(f"The deployment {self.deployment_id} does not say which models it has.")
