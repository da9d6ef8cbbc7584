"""The settings as data, from which the reference is generated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import FieldInfo

from .annotations import REST, Kind, default_of, kind_of
from .messages import join, number


@dataclass(frozen=True, slots=True)
class Setting:
    """One key: where it is written, what it takes, its default, what it is.

    The default is in TOML, or "required", or "none", or "" for a table, whose keys have their own.
    """

    key: str
    type: str
    default: str
    description: str


def describe(struct: type[msgspec.Struct], place: str = "") -> Iterator[Setting]:
    """Every setting of `struct`, in order; tables are followed by their keys.

    What the operator names has a placeholder: `upstreams.NAME.urls`, `prices.MODEL.input`, `routes[].path`.
    """
    for field in msgspec.structs.fields(struct):
        kind = kind_of(field.type)
        key = f"{place}.*" if kind.marked(REST) else join(place, field.encode_name)
        yield Setting(key, kind.expects, _default(field), kind.description)
        inner, inside = _inside(kind, key)
        if inner is not None:
            yield from describe(inner, inside)


def _inside(kind: Kind, key: str) -> tuple[type[msgspec.Struct] | None, str]:
    """The Struct whose settings are below `key`, and the place where they are written."""
    if kind.entries:
        name, value = map(kind_of, kind.entries)
        return value.table, f"{key}.{name.parser.placeholder if name.parser else 'KEY'}"
    if kind.items is not None:
        return kind_of(kind.items).table, f"{key}[]"
    return kind.table, key


def _default(field: FieldInfo) -> str:
    if field.required:
        return "required"
    if kind_of(field.type).table:
        return ""
    default = default_of(field)
    return "none" if default is None else _toml(default)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False)
    return number(value) if isinstance(value, int | float) else str(value)
