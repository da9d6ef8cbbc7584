"""The deployments in the store: where they are, and what they are called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from llmgate.plugin.api import BadRequest, ConfigError, Origin
from llmgate.plugin.kit.tables import Rows

from .tables import deployments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmgate.plugin.api import DynamicUpstreams, Store

API = "/v1"
UPSTREAM = "deployment:"


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


class Registry(Rows[Deployment]):
    """The deployments in `store`; an address that may not be asked is a `BadRequest`."""

    def __init__(self, store: Store, backends: DynamicUpstreams) -> None:
        super().__init__(store, deployments, Deployment, what="deployment", shared=True)
        self._backends = backends

    async def create(self, values: Mapping[str, Any]) -> Deployment:
        """See `Rows`."""
        await self._backends.examine(url_of(values["host"], values["port"]))
        return await super().create({**values, "is_active": True})

    async def update(self, row_id: int, values: Mapping[str, Any]) -> Deployment:
        """See `Rows`."""
        present = await self.by_id(row_id)
        changed = replace(present, **values)
        if changed.url != present.url or (changed.is_active and not present.is_active):
            await self._backends.examine(changed.url)
        return await super().update(row_id, values)


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
