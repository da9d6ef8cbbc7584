"""Structs between guides and services: filled from rows, read as values, and without secrets where they show.

class ShownModel(Struct, frozen=True):
    id: int
    name: str
    created_at: str

filled(ShownModel, row, time=naive_iso)      # created_at is written as the guide writes times
given(body, names=("name",))                 # what a PUT has given; what was left out stays

class Token(Struct, frozen=True):
    access_token: str
    __repr__ = masked("access_token")        # Token(access_token='***')
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from msgspec import UNSET, Struct
from msgspec.structs import asdict

from ..api import Answer, ErrorShape, Refusal, name_of
from .formats import rfc3339

StructT = TypeVar("StructT", bound=Struct)


def filled(
    kind: type[StructT], source: object, *, time: Callable[[float], str] = rfc3339, **values: Any
) -> StructT:
    """A `kind` of what `source`, a row or a dataclass, has under the names of its fields; `values` come first.

    Of those called `*_at` `source` has seconds since the epoch, or None: `time` writes them.
    """
    columns = (
        source._mapping if isinstance(source, sa.Row) else None
    )  # its attributes are those of tuples, too
    for name in kind.__struct_fields__:
        if name not in values:
            value = getattr(source, name) if columns is None else columns[name]
            values[name] = time(value) if name.endswith("_at") and value is not None else value
    return kind(**values)


def given(body: Struct, *, names: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of `body` that are not UNSET; those in `names` as names are kept.

    Raises `BadRequest` where one of `names` is none: see `name_of`.
    """
    values = {field: value for field, value in asdict(body).items() if value is not UNSET}
    for name in names:
        if name in values:
            values[name] = name_of(name, values[name])
    return values


def masked(*secret: str) -> Callable[[Struct], str]:
    """A `__repr__` that shows the fields of a struct, but of those in `secret` that they are there."""

    def __repr__(self: Struct) -> str:  # noqa: N807 - it becomes one
        shown = (
            f"{name}={'***' if name in secret else getattr(self, name)!r}" for name in self.__struct_fields__
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    return __repr__


def with_statuses(shape: ErrorShape, statuses: Mapping[type[Refusal], int]) -> ErrorShape:
    """`shape` with a guide's own statuses of some refusals, each of exactly the class."""

    def shaped(refusal: Refusal) -> Answer:
        status, headers, body = shape(refusal)
        return statuses.get(type(refusal), status), headers, body

    return shaped
