"""httpx over the app that the gate is put around. Importing it loads httpx: 9 MB."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class AsgiTransport(httpx.AsyncBaseTransport):
    """For what the gate itself asks of the app: its health, its metrics, the tokens of a prompt."""

    def __init__(self, app: ASGIApp) -> None:
        self._asgi = httpx.ASGITransport(app, raise_app_exceptions=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx. Its own transport for apps knows no timeouts."""
        if (target := request.extensions.get("target")) is not None:  # as httpcore takes it
            request.url = request.url.copy_with(raw_path=target)
        seconds = request.extensions.get("timeout", {}).get("read")
        try:
            async with asyncio.timeout(seconds):
                return await self._asgi.handle_async_request(request)
        except TimeoutError as error:
            raise httpx.ReadTimeout(f"the app did not answer in {seconds} s", request=request) from error
