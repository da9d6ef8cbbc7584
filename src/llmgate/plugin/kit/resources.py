"""The five operations on the rows of a table: made, listed, shown, changed, deleted.

models = Resource(Rows(store, table, Model, what="model"), shown=partial(filled, ShownModel), names=("name",))
at("POST", models.create, "Add a model.", {201: ShownModel}, 409, body=NewModel)
at("GET", models.all, "All models.", list[ShownModel])
at("GET /{id}", models.get, "A model.", ShownModel, 404)
at("PUT /{id}", models.change, "Change a model.", ShownModel, 404, 409, body=ModelChange)
at("DELETE /{id}", models.delete, "Delete a model.", None, 404)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from .formats import id_in_path
from .shapes import given

if TYPE_CHECKING:
    from ..api import AnyCall
    from .tables import Rows

RowT = TypeVar("RowT")


class Resource(Generic[RowT]):
    """One method for each operation on `rows`, which raise as those do. `shown` makes the answer about one.

    Bodies have the columns' names; of those in `names` the values are kept as names. A field that is UNSET stays as
    it is.
    """

    def __init__(
        self, rows: Rows[RowT], *, shown: Callable[[RowT], object], names: Sequence[str] = ("name",)
    ) -> None:
        self._rows = rows
        self._shown = shown
        self._names = names

    async def create(self, call: AnyCall) -> object:
        """There from now on, with an id of its own."""
        return self._shown(await self._rows.create(given(call.body, names=self._names)))

    async def all(self, _: AnyCall) -> list[object]:
        """Oldest first."""
        return [self._shown(each) for each in await self._rows.all()]

    async def get(self, call: AnyCall) -> object:
        """By its id."""
        return self._shown(await self._rows.by_id(self._id(call)))

    async def change(self, call: AnyCall) -> object:
        """What is left out stays as it is."""
        values = given(call.body, names=self._names)
        return self._shown(await self._rows.update(self._id(call), values))

    async def delete(self, call: AnyCall) -> None:
        """By its id, for good."""
        await self._rows.delete(self._id(call))

    def _id(self, call: AnyCall) -> int:
        return id_in_path(call, self._rows.what)
