"""The registry of models: what they are called, what they are made of, and the versions that were uploaded."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import sqlalchemy as sa
from msgspec import UNSET, Meta, Struct, UnsetType

from llmgate.plugin.api import ADMIN, NotFound, Reply
from llmgate.plugin.kit.formats import Line, Prose, id_in_path, naive_iso
from llmgate.plugin.kit.resources import Resource
from llmgate.plugin.kit.shapes import filled
from llmgate.plugin.kit.tables import Rows

from .tables import models, versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmgate.plugin.api import AnyCall, Call, Store
    from llmgate.plugin.kit.uploads import StoredFile, Uploads


class NewModel(Struct, frozen=True):
    """Body of `POST /models`."""

    name: Line
    display_name: Line | None = None
    description: Prose | None = None
    base_model: Line | None = None
    parameters: Line | None = None
    is_public: bool = False


class ModelChange(Struct, frozen=True):
    """Body of `PUT /models/{id}`: what is left out stays."""

    name: Line | UnsetType = UNSET
    display_name: Line | UnsetType | None = UNSET
    description: Prose | UnsetType | None = UNSET
    base_model: Line | UnsetType | None = UNSET
    parameters: Line | UnsetType | None = UNSET
    is_public: bool | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET


class Which(Struct, frozen=True):
    """Query of `GET /models`."""

    is_active: bool | None = None


class Upload(Struct, frozen=True):
    """Form of `POST /models/{id}/upload`."""

    file: Annotated[str, Meta(extra_json_schema={"format": "binary"})]


class ShownModel(Struct, frozen=True):
    """A model of the registry."""

    id: int
    name: str
    display_name: str | None
    description: str | None
    base_model: str | None
    parameters: str | None
    is_public: bool
    is_active: bool
    created_at: str
    updated_at: str


class ShownVersion(Struct, frozen=True):
    """A file that was uploaded for a model; `size` in bytes, `sha256` in hexadecimal digits."""

    id: int
    model_id: int
    version: int
    size: int
    sha256: str
    created_at: str


_VERSION = versions.c[*ShownVersion.__struct_fields__]
_model = partial(filled, ShownModel, time=naive_iso)
_version = partial(filled, ShownVersion, time=naive_iso)


class Registry(Rows[ShownModel]):
    """The models in the store."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, models, ShownModel, what="model", make=_model)

    async def create(self, values: Mapping[str, Any]) -> ShownModel:
        """See `Rows`."""
        return await super().create({**values, "is_active": True})

    async def versions_of(self, model_id: int) -> list[ShownVersion]:
        """The versions of a model, oldest first."""
        query = sa.select(*_VERSION).where(versions.c.model_id == model_id).order_by(versions.c.version)
        async with self._store.connect() as db:
            return [_version(row) for row in await db.execute(query)]

    async def add_version(self, model_id: int, stored: StoredFile) -> tuple[ShownVersion, bool]:
        """The version of a model that has this content, and whether it is new."""
        mine = versions.c.model_id == model_id
        same = sa.select(*_VERSION).where(mine, versions.c.sha256 == stored.sha256)
        latest = sa.select(sa.func.coalesce(sa.func.max(versions.c.version), 0)).where(mine)
        async with self._store.begin() as db:
            await self._store.serialize(db, f"versions of model {model_id}")
            if (present := (await db.execute(same)).first()) is not None:
                return _version(present), False
            row = {
                "model_id": model_id,
                "version": (await db.execute(latest)).scalar_one() + 1,
                "size": stored.size,
                "sha256": stored.sha256,
                "created_at": self._store.clock(),
            }
            created = await db.execute(versions.insert().values(row).returning(*_VERSION))
            return _version(created.one()), True


class Models(Resource[ShownModel]):
    """The operations. What is not public is not there for those who are no admins.

    Without `uploads`, there are none.
    """

    def __init__(self, registry: Registry, uploads: Uploads | None) -> None:
        super().__init__(registry, shown=lambda model: model)
        self._registry = registry
        self._uploads = uploads

    async def everything(self, call: Call[None, Which]) -> list[ShownModel]:
        """The models that the caller may see, oldest first."""
        wanted = [] if call.query.is_active is None else [models.c.is_active == call.query.is_active]
        return await self._registry.all(*wanted, *([] if _is_admin(call) else [models.c.is_public]))

    async def get(self, call: AnyCall) -> ShownModel:
        """One model."""
        model = await self._registry.by_id(id_in_path(call, "model"))
        if not model.is_public and not _is_admin(call):
            raise self._registry.missing()
        return model

    async def upload(self, call: Call[Upload]) -> Reply:
        """Keep the file as a new version of a model; content that it has already is the version that it was."""
        if self._uploads is None:
            raise NotFound("This gate keeps no model files: its operator has set no models_folder.")
        model = await self._registry.by_id(id_in_path(call, "model"))
        stored = await self._uploads.receive(call)
        version, is_new = await self._registry.add_version(model.id, stored)
        return Reply(version, 201 if is_new else 200)

    async def versions(self, call: AnyCall) -> list[ShownVersion]:
        """The files that were uploaded for a model, oldest first."""
        return await self._registry.versions_of((await self.get(call)).id)


def _is_admin(call: AnyCall) -> bool:
    return ADMIN in call.principal.roles
