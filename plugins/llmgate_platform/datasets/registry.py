"""The data sets that users see: those of gate.toml, and uploads, which are their owner's alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from llmgate.plugin.api import ConfigError, Principal
from llmgate.plugin.kit.shapes import filled
from llmgate.plugin.kit.tables import Rows

from ..shapes import Missing, iso, may_use
from ..tables import datasets
from .examples import BadExample
from .files import Files, Stored

if TYPE_CHECKING:
    from llmgate.plugin.api import Call, Store

    from ..settings import DatasetSettings

log = logging.getLogger("llmgate.platform")

STDLIB_LICENSE = "PSF-2.0"
STDLIB_TEXT = "Documented functions of Python's standard library: what stands before the body, and the body"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A row."""

    id: int
    owner_id: int | None
    name: str
    description: str | None
    language: str | None
    dataset_type: str
    license: str | None
    folder: str
    examples: int
    held_out: int
    created_at: float


class ShownDataset(Struct, frozen=True):
    """A data set. `examples`: lines to train on; `held_out`: lines to evaluate with."""

    id: int
    name: str
    description: str | None
    language: str | None
    dataset_type: str
    created_at: str
    examples: int
    held_out: int
    license: str | None


class DatasetList(Struct, frozen=True):
    """The data sets that the caller may use, oldest first."""

    datasets: list[ShownDataset]


class Registry(Rows[Dataset]):
    """The data sets in `store` and `files`."""

    def __init__(self, store: Store, files: Files) -> None:
        super().__init__(store, datasets, Dataset, what="data set", unique=None)
        self.files = files

    async def open(self, declared: Sequence[DatasetSettings]) -> None:
        """Make what gate.toml declares and is not there yet. Raises `ConfigError` for a file that is no data set."""
        for at, each in enumerate(declared):
            if each.huggingface is None and await self._wants(each):
                try:
                    await self._keep(each, await self._made(each))
                except (BadExample, OSError) as error:
                    place = f"plugins.llmgate_platform.datasets[{at}]"
                    raise ConfigError([f"{place}: {error}"]) from error

    async def load_from_hub(self, declared: Sequence[DatasetSettings]) -> None:
        """Load what gate.toml has from the hub, as long as that takes; what fails is logged, and not there."""
        for each in declared:
            if each.huggingface is None or not await self._wants(each):
                continue
            try:
                await self._keep(each, await self.files.store_from_hub(each.huggingface))
            except (BadExample, OSError) as error:
                log.error("the data set %s cannot be loaded from the hub: %s", each.huggingface, error)  # noqa: TRY400

    async def add(self, owner_id: int, values: dict[str, Any], stored: Stored) -> Dataset:
        """A data set of a user's own."""
        return await self._insert({**values, **_counts(stored), "owner_id": owner_id})

    async def usable(self, dataset_id: int, caller: Principal) -> Dataset:
        """A data set that the caller may use. Raises `Missing`."""
        found = await self.by_id(dataset_id)
        if not may_use(found.owner_id, caller):
            raise Missing
        return found

    async def named(self, name: str | None) -> Dataset | None:
        """The data set that gate.toml declares under this name; without one, the first."""
        declared = self.table.c.declared
        found = await self.all(declared.is_not(None) if name is None else declared == name)
        return found[0] if found else None

    def missing(self) -> Missing:
        """See `Rows`."""
        return Missing()

    async def everything(self, call: Call) -> DatasetList:
        """The operation: those of gate.toml, and the caller's own."""
        caller = call.exchange.principal
        mine = [
            each
            for each in await self.all()
            if each.owner_id is None or (caller and may_use(each.owner_id, caller))
        ]
        return DatasetList([shown(each) for each in mine])

    async def _made(self, wanted: DatasetSettings) -> Stored:
        if wanted.file is not None:
            return await self.files.store(wanted.file, wanted.held_out)
        return await self.files.store_builtin()

    async def _wants(self, wanted: DatasetSettings) -> bool:
        """Whether a declared data set has to be made: it is not there, or its file may be another one now."""
        present = await self.named(wanted.name)
        return present is None or not self.files.has(present.folder) or wanted.file is not None

    async def _keep(self, wanted: DatasetSettings, stored: Stored) -> None:
        is_builtin = wanted.builtin is not None
        await self._insert(
            {
                "declared": wanted.name,
                "name": wanted.name,
                "description": wanted.description or (STDLIB_TEXT if is_builtin else None),
                "language": wanted.language or ("python" if is_builtin else None),
                "dataset_type": wanted.dataset_type,
                "license": wanted.license or (STDLIB_LICENSE if is_builtin else None),
                **_counts(stored),
            }
        )

    async def _insert(self, values: dict[str, Any]) -> Dataset:
        row = {**values, "created_at": self._store.clock()}
        insert = self._store.insert(datasets).values(row)
        upsert = insert.on_conflict_do_update(index_elements=["declared"], set_=values).returning(
            *self.columns
        )
        async with self._store.begin() as db:
            return Dataset(*(await db.execute(upsert)).one())


shown = partial(filled, ShownDataset, time=iso)
"""A data set as the API tells it."""


def _counts(stored: Stored) -> dict[str, Any]:
    return {"folder": stored.folder, "examples": stored.examples, "held_out": stored.held_out}
