"""The registry of models: what they are called, what they are made of, and the versions that were uploaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import sqlalchemy as sa
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import asdict

from llmgate.plugin.api import ADMIN, Conflict, NotFound, Reply, name_of
from llmgate.plugin.kit.formats import Line, Prose, id_in_path, naive_iso

from .tables import models, versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmgate.plugin.api import Call, Store
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


_MODEL = models.c[*ShownModel.__struct_fields__]
_VERSION = versions.c[*ShownVersion.__struct_fields__]


class Registry:
    """The models in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, values: Mapping[str, Any]) -> ShownModel:
        """A new model. Raises `Conflict` for a name that is taken."""
        now = self._store.clock()
        row = {**values, "is_active": True, "created_at": now, "updated_at": now}
        insert = self._store.insert(models).values(row).on_conflict_do_nothing()
        async with self._store.begin() as db:
            created = (await db.execute(insert.returning(*_MODEL))).first()
        if created is None:
            raise _taken()
        return _model(created)

    async def update(self, model_id: int, values: Mapping[str, Any]) -> ShownModel:
        """Change what `values` has. Raises `NotFound`, and `Conflict` for a name that is taken."""
        update = models.update().where(models.c.id == model_id)
        async with self._store.begin() as db:
            await self._store.serialize(db, "models")
            same_name = (models.c.name == values.get("name")) & (models.c.id != model_id)
            if await db.scalar(sa.select(models.c.id).where(same_name)):
                raise _taken()
            changed = {**values, "updated_at": self._store.clock()}
            row = (await db.execute(update.values(changed).returning(*_MODEL))).first()
        if row is None:
            raise _no_model()
        return _model(row)

    async def all(self, *, is_active: bool | None, only_public: bool) -> list[ShownModel]:
        """The models that match, oldest first."""
        query = sa.select(*_MODEL).order_by(models.c.id)
        if is_active is not None:
            query = query.where(models.c.is_active == is_active)
        if only_public:
            query = query.where(models.c.is_public)
        async with self._store.connect() as db:
            return [_model(row) for row in await db.execute(query)]

    async def by_id(self, model_id: int) -> ShownModel:
        """The model with this id. Raises `NotFound`."""
        async with self._store.connect() as db:
            row = (await db.execute(sa.select(*_MODEL).where(models.c.id == model_id))).first()
        if row is None:
            raise _no_model()
        return _model(row)

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


class Models:
    """One method for each operation. What is not public is not there for those who are no admins.

    Without `uploads`, there are none.
    """

    def __init__(self, registry: Registry, uploads: Uploads | None) -> None:
        self._registry = registry
        self._uploads = uploads

    async def create(self, call: Call[NewModel]) -> ShownModel:
        """A new model, without a file yet."""
        return await self._registry.create(_values(call.body))

    async def change(self, call: Call[ModelChange]) -> ShownModel:
        """Change a model."""
        return await self._registry.update(id_in_path(call, "model"), _values(call.body))

    async def everything(self, call: Call[None, Which]) -> list[ShownModel]:
        """The models that the caller may see, oldest first."""
        wanted = call.query
        return await self._registry.all(
            is_active=wanted.is_active, only_public=ADMIN not in call.principal.roles
        )

    async def get(self, call: Call) -> ShownModel:
        """One model."""
        model = await self._registry.by_id(id_in_path(call, "model"))
        if not model.is_public and ADMIN not in call.principal.roles:
            raise _no_model()
        return model

    async def upload(self, call: Call[Upload]) -> Reply:
        """Keep the file as a new version of a model; content that it has already is the version that it was."""
        if self._uploads is None:
            raise NotFound("This gate keeps no model files: its operator has set no models_folder.")
        model = await self._registry.by_id(id_in_path(call, "model"))
        stored = await self._uploads.receive(call)
        version, is_new = await self._registry.add_version(model.id, stored)
        return Reply(version, 201 if is_new else 200)

    async def versions(self, call: Call) -> list[ShownVersion]:
        """The files that were uploaded for a model, oldest first."""
        return await self._registry.versions_of((await self.get(call)).id)


def _values(body: NewModel | ModelChange) -> dict[str, Any]:
    values = {name: value for name, value in asdict(body).items() if value is not UNSET}
    if "name" in values:
        values["name"] = name_of("name", values["name"])
    return values


def _model(row: sa.Row[Any]) -> ShownModel:
    values = row._asdict()
    times = {name: naive_iso(values[name]) for name in ("created_at", "updated_at")}
    return ShownModel(**{**values, **times})


def _version(row: sa.Row[Any]) -> ShownVersion:
    values = row._asdict()
    return ShownVersion(**{**values, "created_at": naive_iso(values["created_at"])})


def _no_model() -> NotFound:
    return NotFound("There is no such model.")


def _taken() -> Conflict:
    return Conflict("Another model has this name.", param="name")
