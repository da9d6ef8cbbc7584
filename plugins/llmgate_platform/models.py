"""The models: those that gate.toml declares, what users call them, and what their training jobs have made."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import asdict

from llmgate.plugin.kit.shapes import filled
from llmgate.plugin.kit.tables import Rows

from .accounts import Done
from .settings import Line, Prose
from .shapes import Invalid, Missing, id_of, iso, may_use
from .tables import evaluations, jobs, models

if TYPE_CHECKING:
    from llmgate.plugin.api import Call, Principal, Store

    from .settings import ModelSettings

AVAILABLE, ERROR = "AVAILABLE", "ERROR"


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A row. `base` names a model of gate.toml, `job_id` the job whose adapter it is."""

    id: int
    declared: str | None
    base: str
    owner_id: int | None
    job_id: int | None
    name: str
    base_model: str
    status: str
    description: str | None
    model_size: str | None
    parameters: str | None
    created_at: float
    updated_at: float


class NewModel(Struct, frozen=True):
    """Body of `POST /models`: a name of one's own for a base model. `base_model` is one of gate.toml's."""

    name: Line
    base_model: str
    description: Prose | None = None
    model_size: Line | None = None


class ListedModel(Struct, frozen=True):
    """A model."""

    id: int
    name: str
    base_model: str
    status: str
    description: str | None
    model_size: str | None
    created_at: str
    updated_at: str


class ShownModel(ListedModel, frozen=True):
    """A model, by its id."""

    parameters: str | None


class ModelList(Struct, frozen=True):
    """All models, oldest first."""

    models: list[ListedModel]


class CreatedModel(Struct, frozen=True):
    """A new model."""

    id: int
    name: str
    base_model: str
    status: str
    message: str = "Model created successfully"


class ModelMetrics(Struct, frozen=True):
    """What an evaluation has found."""

    name: str
    perplexity: float | None
    bleu_score: float | None
    rouge_score: float | None
    created_at: str


class Catalog(Rows[ModelRow]):
    """The models in `store`; `declared` are those of gate.toml, by name."""

    def __init__(self, store: Store, declared: Sequence[ModelSettings]) -> None:
        super().__init__(store, models, ModelRow, what="model", unique=None, shared=True)
        self.declared: Mapping[str, ModelSettings] = {each.name: each for each in declared}

    async def open(self) -> None:
        """Give every declared model its row, in gate.toml's order, so that the first one is model 1."""
        now = self._store.clock()
        async with self._store.begin() as db:
            await self._store.serialize(db, "platform models")
            for each in self.declared.values():
                values = {
                    "base": each.name,
                    "name": each.name,
                    "base_model": each.base_model,
                    "status": AVAILABLE,
                    "description": each.description,
                    "model_size": each.model_size,
                }
                row = {**values, "declared": each.name, "created_at": now, "updated_at": now}
                insert = self._store.insert(models).values(row)
                await db.execute(insert.on_conflict_do_update(index_elements=["declared"], set_=values))

    async def usable(self, model_id: int, caller: Principal) -> tuple[ModelRow, ModelSettings]:
        """A model that the caller may use, and what gate.toml says of its base. Raises `Missing`."""
        row = await self.by_id(model_id)
        base = self.declared.get(row.base)
        if base is None or not may_use(row.owner_id, caller):
            raise Missing
        return row, base

    async def adapters(self) -> dict[str, list[int]]:
        """The jobs whose adapters are to be served, by the name of their base in gate.toml, oldest first."""
        query = (
            sa.select(models.c.base, models.c.job_id)
            .where(models.c.job_id.is_not(None))
            .order_by(models.c.job_id)
        )
        found: dict[str, list[int]] = {}
        async with self._store.connect() as db:
            for base, job_id in await db.execute(query):
                found.setdefault(base, []).append(job_id)
        return found

    async def adapter(self, job_id: int, caller: Principal) -> tuple[ModelRow, ModelSettings]:
        """The model that a job has made, if the caller may use it. Raises `Missing`."""
        async with self._store.connect() as db:
            model_id = await db.scalar(sa.select(models.c.id).where(models.c.job_id == job_id))
        if model_id is None:
            raise Missing
        return await self.usable(model_id, caller)

    async def adapters_of(self, caller: Principal) -> list[tuple[ModelRow, ModelSettings]]:
        """What the caller's jobs have made, oldest first."""
        mine = models.c.job_id.is_not(None) & (models.c.owner_id == caller.user_id)
        rows = await self.all(mine)
        return [(row, self.declared[row.base]) for row in rows if row.base in self.declared]

    async def withdrawn(self) -> list[int]:
        """The jobs whose models were deleted: their adapters are to be served no more."""
        gone = (jobs.c.status == "COMPLETED") & ~sa.exists().where(models.c.job_id == jobs.c.id)
        async with self._store.connect() as db:
            return list((await db.execute(sa.select(jobs.c.id).where(gone))).scalars())

    async def note_refused(self, job_ids: Collection[int]) -> None:
        """The adapters of these jobs, and no others, are such as their engines do not take."""
        refused = models.c.job_id.in_(job_ids)
        async with self._store.begin() as db:
            for status, mine in ((ERROR, refused), (AVAILABLE, models.c.job_id.is_not(None) & ~refused)):
                values = {"status": status, "updated_at": self._store.clock()}
                await db.execute(models.update().where(mine, models.c.status != status).values(values))

    async def name_base(self, owner_id: int, wanted: NewModel, base: ModelSettings) -> ModelRow:
        """A user's own name for a base model."""
        row = {"base": base.name, "owner_id": owner_id, "status": AVAILABLE, **asdict(wanted)}
        return await self.create({**row, "model_size": wanted.model_size or base.model_size})

    def missing(self) -> Missing:
        """See `Rows`."""
        return Missing()

    async def metrics(self, model_id: int) -> list[ModelMetrics]:
        """What its finished evaluations have found, newest first."""
        columns = evaluations.c["eval_name", "perplexity", "bleu_score", "rouge_score", "created_at"]
        mine = (evaluations.c.model_id == model_id) & (evaluations.c.status == "COMPLETED")
        query = sa.select(*columns).where(mine).order_by(evaluations.c.id.desc())
        async with self._store.connect() as db:
            rows = (await db.execute(query)).all()
        return [filled(ModelMetrics, row, time=iso, name=row.eval_name) for row in rows]


ListedT = TypeVar("ListedT", bound=ListedModel)


class Models:
    """One method for each operation."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def everything(self, call: Call) -> ModelList:
        """All models."""
        return ModelList([self._shown(ListedModel, row) for row in await self._catalog.all()])

    async def get(self, call: Call) -> ShownModel:
        """One model. Raises `Missing`."""
        return self._shown(ShownModel, await self._catalog.by_id(id_of(call)))

    async def metrics(self, call: Call) -> list[ModelMetrics]:
        """What evaluations of a model have found. Raises `Missing`."""
        return await self._catalog.metrics((await self._catalog.by_id(id_of(call))).id)

    async def create(self, call: Call[NewModel]) -> CreatedModel:
        """A name of the caller's own for a base model."""
        bases = {each.base_model: each for each in reversed([*self._catalog.declared.values()])}
        base = bases.get(call.body.base_model)
        if base is None:
            known = ", ".join(dict.fromkeys(each.base_model for each in self._catalog.declared.values()))
            raise Invalid("base_model", f"expected one of {known}")
        row = await self._catalog.name_base(call.principal.user_id, call.body, base)
        return CreatedModel(row.id, row.name, row.base_model, row.status)

    async def delete(self, call: Call) -> Done:
        """Delete a model of the caller's. Raises `Missing`."""
        row = await self._catalog.by_id(id_of(call))
        if row.owner_id is None or not may_use(row.owner_id, call.principal):
            raise Missing
        await self._catalog.delete(row.id)
        return Done("Model deleted successfully")

    def _shown(self, kind: type[ListedT], row: ModelRow) -> ListedT:
        status = row.status if row.base in self._catalog.declared else ERROR
        return filled(kind, row, time=iso, status=status)
