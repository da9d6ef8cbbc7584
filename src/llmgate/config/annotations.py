"""What a type annotation of a setting says: its type, constraints and documentation.

Both the reader and the reference are made from this, so they cannot disagree.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from .messages import alternatives, found, number
from .secrets import Secret
from .units import UNIT
from .values import PARSERS, Parser

UNIQUE = "unique"
"""`Meta(extra={UNIQUE: True})` on an array: no value may be there twice."""
REST = "rest"
"""`Meta(extra={REST: True})` on a table: it takes the keys that no other field has."""

_PLAIN: Mapping[object, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    Any: "anything",
}
_BOUNDS: Mapping[str, str] = {
    "ge": "at least {}",
    "gt": "over {}",
    "le": "at most {}",
    "lt": "under {}",
    "min_length": "at least {} long",
    "max_length": "at most {} long",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """An annotation taken apart: `core` is the type without None, `metas` is what `Annotated` says of it."""

    core: Any
    metas: tuple[msgspec.Meta, ...] = ()
    optional: bool = False
    own_parser: Parser | None = None

    @property
    def parser(self) -> Parser | None:
        """How a string becomes this type, if it is one that gate.toml writes as a string."""
        return self.own_parser or PARSERS.get(self.core)

    @property
    def table(self) -> type[msgspec.Struct] | None:
        """The Struct that a table is read into."""
        is_struct = isinstance(self.core, type) and issubclass(self.core, msgspec.Struct)
        return self.core if is_struct else None

    @property
    def container(self) -> Any:
        """`list` of `list[X]`, `Mapping` of `Mapping[K, V]`; None of a plain type."""
        return get_origin(self.core)

    @property
    def items(self) -> Any:
        """The annotation of an array's items; None if this is no array of any length."""
        args = get_args(self.core)
        is_array = self.container is list or (self.container is tuple and args[1:] == (...,))
        return args[0] if is_array else None

    @property
    def entries(self) -> tuple[Any, Any] | None:
        """The annotations of the names and values of a table whose keys are the operator's own names."""
        if self.container in (dict, Mapping):
            name, value = get_args(self.core)
            return name, value
        return None

    @property
    def description(self) -> str:
        """The documentation of a setting; of a table, the first line of its class."""
        descriptions = [meta.description for meta in self.metas if meta.description]
        if descriptions:
            return descriptions[-1]
        entries = self.entries
        inner = (entries and kind_of(entries[1]).table) or (self.items and kind_of(self.items).table)
        table = self.table or inner
        return (table.__doc__ or "").partition("\n")[0] if table else ""

    @property
    def may_hold_secrets(self) -> bool:
        """Whether what was written here must not be shown: a secret, or a table or array that may have some."""
        inside = self.table or self.items is not None or self.entries
        return bool(inside) or (self.parser is not None and self.parser.secret)

    @property
    def measure(self) -> str:
        """What a number measures that may be written with a unit (see `units`); "" for others."""
        return next((meta.extra[UNIT] for meta in self.metas if meta.extra and UNIT in meta.extra), "")

    @property
    def is_number(self) -> bool:
        """Whether a plain number is taken here."""
        members = get_args(self.core) if _is_union(self.core) else (self.core,)
        return any(kind_of(member).core in (int, float) for member in members)

    def marked(self, name: str) -> bool:
        """Whether the annotation carries this mark."""
        return any(name in (meta.extra or {}) for meta in self.metas)

    def shell(self, container: type) -> Any:
        """The annotation of an array or table without that of its items: what it must be, and how long."""
        return Annotated[(container, *self.metas)] if self.metas else container

    @property
    def expects(self) -> str:
        """What completes "expected ...", and stands as the type in the reference."""
        if self.parser:
            return self.parser.expects
        if self.table:
            return "a table"
        if self.items is not None:
            return f"an array{self._bounds}, each item {kind_of(self.items).expects}"
        if self.entries:
            return f"a table, each value {kind_of(self.entries[1]).expects}"
        return self._plain + self._bounds

    @property
    def _plain(self) -> str:
        if self.container is Literal:
            return alternatives(found(option) for option in get_args(self.core))
        if _is_union(self.core):
            return " or ".join(kind_of(member).expects for member in get_args(self.core))
        return _PLAIN.get(self.core, str(getattr(self.core, "__name__", self.core)))

    @property
    def _bounds(self) -> str:
        bounds = [
            words.format(number(limit))
            for meta in self.metas
            for key, words in _BOUNDS.items()
            if (limit := getattr(meta, key)) is not None
        ]
        return f" ({' and '.join(bounds)})" if bounds else ""


def kind_of(annotation: Any) -> Kind:
    """Take `annotation` apart: `Annotated[X | None, Meta(...)]` and any nesting of these."""
    if get_origin(annotation) is Annotated:
        core, *around = get_args(annotation)
        inner = kind_of(core)
        metas = tuple(meta for meta in around if isinstance(meta, msgspec.Meta))
        parser = next((each for each in around if isinstance(each, Parser)), inner.own_parser)
        return Kind(inner.core, inner.metas + metas, inner.optional, parser)
    if _is_union(annotation) and type(None) in get_args(annotation):
        members = tuple(member for member in get_args(annotation) if member is not type(None))
        inner = kind_of(Union[members])  # noqa: UP007 - the members are known at run time only
        return Kind(inner.core, inner.metas, True, inner.own_parser)
    return Kind(annotation)


def default_of(field: FieldInfo) -> Any:
    """The default of a field as gate.toml would write it; None if there is none to write."""
    has_factory = field.default_factory is not msgspec.NODEFAULT
    default = field.default_factory() if has_factory else field.default
    return None if default is msgspec.NODEFAULT else written(default)


def written(value: object) -> Any:
    """`value` as the strings, numbers, dates, arrays and tables of TOML."""
    if isinstance(value, msgspec.Struct):
        return {
            each.encode_name: written(getattr(value, each.name)) for each in msgspec.structs.fields(value)
        }
    if isinstance(value, Mapping):
        return {key: written(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [written(item) for item in value]
    if isinstance(value, Secret):
        return value.reveal()
    if type(value) in PARSERS:
        return str(value)
    return msgspec.to_builtins(value, enc_hook=str, builtin_types=(datetime, date, time))


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)
