"""The HTTP client for what is not the data path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..proxy.asgi_upstream import ORIGIN

if TYPE_CHECKING:
    import httpx
    from starlette.types import ASGIApp


class HttpClient:
    """Hands out one `httpx.AsyncClient`, made when it is first asked for: a gate that asks nobody saves 10 MB.

    It reaches `inner`, the app that the gate is put around, if any, at `proxy.asgi_upstream.ORIGIN`.
    """

    def __init__(self, inner: ASGIApp | None = None) -> None:
        self._inner = inner
        self._client: httpx.AsyncClient | None = None

    def get(self) -> httpx.AsyncClient:
        """The client, which stays this object's to close."""
        if self._client is None:
            import httpx  # noqa: PLC0415 - see the class

            from ..proxy.asgi_transport import AsgiTransport  # noqa: PLC0415 - imports httpx

            mounts = {} if self._inner is None else {ORIGIN: AsgiTransport(self._inner)}
            self._client = httpx.AsyncClient(trust_env=False, mounts=mounts)
        return self._client

    async def aclose(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.aclose()
