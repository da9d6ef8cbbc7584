"""Reading a table of gate.toml into a Struct, with every problem on the way.

One walk over the fields of the Struct, one strict `msgspec.convert` for each plain value. A value that
cannot be read is noted and replaced by `BROKEN`, so that the walk goes on and sees all the rest.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import msgspec

from ..errors import ConfigError
from .annotations import REST, UNIQUE, Kind, default_of, kind_of
from .messages import fits, found, join, toml_type, unknown_key
from .secrets import PluginSettings, Sources
from .units import parse_quantity, remedy
from .values import Parser

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


class Unknowable(Exception):
    """Something depends on a value that could not be read."""


class Broken:
    """Stands where a value could not be read. It counts as given; to look into it raises `Unknowable`.

    So a rule between settings is left out where it cannot be judged, instead of adding a second problem
    that follows from the first.
    """

    def _look(self, *_: object) -> NoReturn:
        raise Unknowable

    __getattr__ = __eq__ = __hash__ = __iter__ = __len__ = __contains__ = __getitem__ = _look
    __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = __call__ = __format__ = __str__ = _look

    def __bool__(self) -> bool:
        return True


BROKEN: Any = Broken()


def sound(items: Iterable[T]) -> Iterator[T]:
    """The items that could be read: for rules that judge each on its own."""
    return (item for item in items if item is not BROKEN)


class Reader:
    """One reading of one document.

    `problems` has a place and a message for each thing found; `tables` has every Struct made, with its place.
    """

    def __init__(self, sources: Sources) -> None:
        self.problems: list[tuple[str, str]] = []
        self.tables: list[tuple[str, msgspec.Struct]] = []
        self._sources = sources

    def read(self, annotation: Any, value: Any, place: str) -> Any:
        """`value` as what `annotation` says, or `BROKEN`."""
        kind = kind_of(annotation)
        if value is None and kind.optional:
            return None
        if parser := kind.parser:
            return self._parsed(kind, parser, value, place)
        if kind.table:
            return self._table(kind, value, place)
        if kind.items is not None:
            return self._array(kind, value, place)
        if entries := kind.entries:
            return self._entries(kind, entries, value, place)
        return self._plain(annotation, value, place)

    def _parsed(self, kind: Kind, parser: Parser, value: Any, place: str) -> Any:
        if not isinstance(value, str):
            return self._unexpected(kind, value, place)
        try:
            return parser.parse(value, self._sources)
        except ValueError as error:
            return self._broken(place, str(error)) if str(error) else self._unexpected(kind, value, place)

    def _plain(self, annotation: Any, value: Any, place: str) -> Any:
        measure = kind_of(annotation).measure
        if isinstance(value, str) and measure and (quantity := parse_quantity(value, measure)) is not None:
            value = quantity
        unreal = isinstance(value, float) and not math.isfinite(value)
        if unreal or (isinstance(value, int) and not fits(value)):
            return self._unexpected(kind_of(annotation), value, place)
        try:
            return msgspec.convert(value, annotation, strict=True)
        except msgspec.ValidationError:
            return self._unexpected(kind_of(annotation), value, place)

    def _is(self, container: type, kind: Kind, value: Any, place: str) -> bool:
        try:
            msgspec.convert(value, kind.shell(container), strict=True)
        except msgspec.ValidationError:
            self._unexpected(kind, value, place)
            return False
        return True

    def _array(self, kind: Kind, value: Any, place: str) -> Any:
        if not self._is(list, kind, value, place):
            return BROKEN
        items = [self.read(kind.items, raw, f"{place}[{index}]") for index, raw in enumerate(value)]
        if kind.marked(UNIQUE):
            for index, item in enumerate(items):
                if item is not BROKEN and item in sound(items[:index]):
                    self._broken(f"{place}[{index}]", "there already: leave one out")
        return items if kind.container is list else tuple(items)

    def _entries(self, kind: Kind, entries: tuple[Any, Any], value: Any, place: str) -> Any:
        if not self._is(dict, kind, value, place):
            return BROKEN
        key_kind, value_kind = entries
        result = {}
        for key, raw in value.items():
            at = join(place, key)
            if kind_of(key_kind).core is str and (name := _dotted(key, raw, value_kind)) is not None:
                self._broken(at, f"a name with dots is written in quotes: {join(place, name)}")
                continue
            self.read(key_kind, key, at)
            result[key] = self.read(value_kind, raw, at)
        return result if kind.container is dict else MappingProxyType(result)

    def _table(self, kind: Kind, value: Any, place: str) -> Any:
        if not self._is(dict, kind, value, place):
            return BROKEN
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind.core)}
        values, rest = {}, None
        for key, field in fields.items():
            if kind_of(field.type).marked(REST):
                rest = field
            elif key in value:
                values[field.name] = self.read(field.type, value[key], join(place, key))
            elif field.required:
                values[field.name] = self._broken(
                    join(place, key), f"missing: expected {kind_of(field.type).expects}"
                )
            else:
                values[field.name] = self.read(field.type, default_of(field), join(place, key))
        unknown = [key for key in value if key not in fields or fields[key] is rest]
        if rest is not None:
            values[rest.name] = PluginSettings({key: value[key] for key in unknown}, self._sources)
        else:
            for key in unknown:
                self._broken(join(place, key), unknown_key(key, fields))
        return self._made(kind.core, values, place)

    def _made(self, struct: type[msgspec.Struct], values: dict[str, Any], place: str) -> Any:
        try:
            made = struct(**values)
        except Unknowable:
            return BROKEN
        except ValueError as error:
            return self._broken(place, str(error))
        self.tables.append((place, made))
        return made

    def _unexpected(self, kind: Kind, value: Any, place: str) -> Any:
        shown = toml_type(value) if kind.may_hold_secrets else found(value)
        meant = remedy(value) if isinstance(value, str) and kind.is_number else ""
        return self._broken(place, f"expected {kind.expects}, found {shown}{meant}")

    def _broken(self, place: str, message: str) -> Any:
        self.problems.append((place, message))
        return BROKEN


def _dotted(key: str, value: Any, annotation: Any) -> str | None:
    """The name that was meant where its dots have made tables in tables, as `[prices.gpt-4.1]` does."""
    table = kind_of(annotation).table
    keys = {field.encode_name for field in msgspec.structs.fields(table)} if table else set()
    if any(kind_of(field.type).marked(REST) for field in (msgspec.structs.fields(table) if table else ())):
        return None
    name = key
    while isinstance(value, dict) and len(value) == 1 and (inner := next(iter(value))) not in keys:
        if table is not None and not isinstance(value[inner], dict):
            break
        name, value = f"{name}.{inner}", value[inner]
    return None if name == key else name


def reported(file: Path, findings: Iterable[tuple[str, str]]) -> list[str]:
    """Findings as they are reported: `gate.toml: routes[2].upstream: no upstream "vlm" (known: vllm)`."""
    return [f"{file}: {place}: {message}" if place else f"{file}: {message}" for place, message in findings]


def sources_of(file: Path, environ: Mapping[str, str] | None = None) -> Sources:
    """Where the values named in `file` come from; without `environ`, the environment of this process."""
    return Sources(file, os.environ if environ is None else environ)


def convert_table(struct: type[S], table: Mapping[str, Any], place: str) -> S:
    """Read `table`, found at `place` in gate.toml, into `struct`: how a plugin reads its own settings.

    The annotations of the Struct decide, and its `__post_init__` by ValueError. Raises `ConfigError` with
    every problem. A table that does not know where it is from is taken to be in gate.toml right here.
    """
    sources = table.sources if isinstance(table, PluginSettings) else sources_of(Path("gate.toml"))
    reader = Reader(sources)
    made: S = reader.read(struct, dict(table), place)
    if reader.problems:
        raise ConfigError(reported(sources.file, reader.problems))
    return made
