"""The operations under /regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import httpx
from msgspec import Meta, Struct, structs

from llmgate.plugin.api import BadRequest, ConfigError, Origin
from llmgate.plugin.kit.shapes import masked
from llmgate.plugin.kit.vector_databases import ServerAddress, VectorServerFailed

from .regions import ROUTE, ShownRegion, ShownToAdmin
from .shapes import Line, Message, Text, id_in
from .teams import ShownTeam

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmgate.plugin.api import Call, DynamicUpstreams

    from .access import Caller
    from .parts import Parts
    from .regions import Region

PROBE_TIMEOUT = 3.0
Port = Annotated[int, Meta(ge=1, le=65_535)]
Password = Annotated[str, Meta(max_length=4096)]


class NewRegion(Struct, frozen=True, kw_only=True):
    """Body of `POST /regions`; the secrets do not show."""

    name: Line
    label: Line | None = None
    description: Text | None = None
    postgres_host: Line
    postgres_port: Port = 5432
    postgres_admin_user: Line
    postgres_admin_password: Password
    litellm_api_url: Line
    litellm_api_key: Password = ""
    is_active: bool = True
    is_dedicated: bool = False

    __repr__ = masked("postgres_admin_password", "litellm_api_key")


class RegionChange(Struct, frozen=True, kw_only=True):
    """Body of `PUT /regions/{id}`; the secrets do not show, and blank ones keep what is stored."""

    name: Line | None = None
    label: Line | None = None
    description: Text | None = None
    postgres_host: Line | None = None
    postgres_port: Port | None = None
    postgres_admin_user: Line | None = None
    postgres_admin_password: Password | None = None
    litellm_api_url: Line | None = None
    litellm_api_key: Password | None = None
    is_active: bool | None = None
    is_dedicated: bool | None = None

    __repr__ = masked("postgres_admin_password", "litellm_api_key")


class RegionOperations:
    """See the module's text."""

    def __init__(self, parts: Parts, backends: DynamicUpstreams) -> None:
        self._parts = parts
        self._backends = backends

    async def all(self, call: Call[None, None, Caller]) -> list[ShownRegion]:
        """The regions that the caller may use."""
        caller = call.access
        found = await self._parts.regions.seen_by(caller.team_id, everything=caller.person.is_admin)
        return [ShownRegion.of(region, self._parts.settings.model_url) for region in found]

    async def all_with_backends(self, call: Call[None, None, Caller]) -> list[ShownToAdmin]:
        """Every region with its backend."""
        return [ShownToAdmin.with_backend(region) for region in await self._parts.regions.all()]

    async def get(self, call: Call[None, None, Caller]) -> ShownToAdmin:
        """One region with its backend."""
        return ShownToAdmin.with_backend(await self._parts.regions.by_id(self._id(call)))

    async def create(self, call: Call[NewRegion, None, Caller]) -> ShownToAdmin:
        """A new region, if both of its servers answer."""
        values = stored(structs.asdict(call.body))
        await self._try_backend(values["backend_url"], values["backend_key"])
        await self._try_server(values)
        region = await self._parts.regions.create(values)
        assert region is not None
        return ShownToAdmin.with_backend(region)

    async def change(self, call: Call[RegionChange, None, Caller]) -> ShownToAdmin:
        """Change a region; a server that is changed has to answer."""
        present = await self._parts.regions.by_id(self._id(call))
        given = {name: value for name, value in structs.asdict(call.body).items() if value not in (None, "")}
        values = stored(given)
        merged = {name: values.get(name, getattr(present, name)) for name in _CONNECTIONS}
        if _differs(merged, present, "backend_url", "backend_key"):
            await self._try_backend(merged["backend_url"], merged["backend_key"])
        if _differs(merged, present, *_CONNECTIONS[2:]):
            await self._try_server(merged)
        return ShownToAdmin.with_backend(await self._parts.regions.update(present.id, values))

    async def delete(self, call: Call[None, None, Caller]) -> Message:
        """Mark a region without keys inactive."""
        await self._parts.regions.retire(self._id(call))
        return Message("Region deleted successfully")

    async def dedicate(self, call: Call[None, None, Caller]) -> Message:
        """Let a team use a dedicated region."""
        team = await self._parts.teams.by_id(id_in(call.path["team_id"], "Team"))
        await self._parts.regions.dedicate(self._id(call), team.id)
        return Message("Team associated with region successfully")

    async def withdraw(self, call: Call[None, None, Caller]) -> Message:
        """Take a dedicated region from a team."""
        await self._parts.regions.withdraw(self._id(call), id_in(call.path["team_id"], "Team"))
        return Message("Team removed from region successfully")

    async def teams(self, call: Call[None, None, Caller]) -> list[ShownTeam]:
        """The teams of a dedicated region."""
        found = await self._parts.regions.teams_of(self._id(call))
        return [ShownTeam.of(await self._parts.teams.by_id(team_id)) for team_id in found]

    def _id(self, call: Call[Any, Any, Caller]) -> int:
        return id_in(call.path["id"], "Region")

    async def _try_backend(self, url: str, key: str) -> None:
        """Raise `BadRequest` unless models can be asked for there."""
        failed = "LiteLLM endpoint validation failed: "
        if url.startswith(ROUTE):
            if url.removeprefix(ROUTE) not in self._parts.gate.routes:
                known = ", ".join(sorted(self._parts.gate.routes)) or "none"
                raise BadRequest(f"{failed}gate.toml has no such route (known: {known})")
            return
        try:
            await self._backends.examine(url)
            headers = {"authorization": f"Bearer {key}"} if key else {}
            answer = await self._backends.http.get(f"{url}/v1/models", headers=headers, timeout=PROBE_TIMEOUT)
        except BadRequest as error:
            raise BadRequest(failed + error.message) from error
        except (httpx.HTTPError, OSError) as error:
            raise BadRequest(f"{failed}it cannot be reached ({type(error).__name__})") from error
        if answer.status_code >= 400 and answer.status_code != 404:
            raise BadRequest(f"{failed}it answers {answer.status_code}")

    async def _try_server(self, values: Mapping[str, Any]) -> None:
        """Raise `BadRequest` unless databases can be made there."""
        address = ServerAddress(*(values[name] for name in _CONNECTIONS[2:]))
        try:
            await self._parts.servers.at(address).check()
        except VectorServerFailed as error:
            raise BadRequest(f"Database connection validation failed: {error}") from error


_CONNECTIONS = (
    *("backend_url", "backend_key"),
    *("postgres_host", "postgres_port", "postgres_admin_user", "postgres_admin_password"),
)
_RENAMED = {"litellm_api_url": "backend_url", "litellm_api_key": "backend_key"}


def stored(values: Mapping[str, Any]) -> dict[str, Any]:
    """A region's values in the words of the store. Raises `BadRequest` for a backend that is no address."""
    renamed = {_RENAMED.get(name, name): value for name, value in values.items()}
    if "backend_url" in renamed:
        renamed["backend_url"] = backend_url(renamed["backend_url"])
    return renamed


def backend_url(text: str) -> str:
    """The root of an OpenAI-compatible server, with or without `/v1` behind it, or `route:NAME`."""
    if text.startswith(ROUTE):
        return text
    try:
        return Origin.parse(text.rstrip("/").removesuffix("/v1")).url
    except (ValueError, ConfigError) as error:
        raise BadRequest(
            "litellm_api_url: expected the URL of a server, or route:NAME",
            status=422,
            param="litellm_api_url",
        ) from error


def _differs(values: Mapping[str, Any], region: Region, *names: str) -> bool:
    return any(values[name] != getattr(region, name) for name in names)
