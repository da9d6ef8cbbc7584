"""Numbers with a unit: "5s" where seconds are asked for, "16MB" where bytes are; for others, what to write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .messages import number

UNIT: Final = "unit"
"""`Meta(extra={UNIT: "seconds"})` on a number: a string with a unit is taken as well."""
SECONDS: Final = "seconds"
BYTES: Final = "bytes"

UNITS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        SECONDS: {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400},
        BYTES: {
            "B": 1,
            "kB": 10**3,
            "KB": 10**3,
            "MB": 10**6,
            "GB": 10**9,
            "KiB": 2**10,
            "MiB": 2**20,
            "GiB": 2**30,
        },
    }
)
"""What a unit stands for, by what is measured (the SI's prefixes, and those of IEC 80000-13)."""

_WITH_UNIT = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?) ?([A-Za-z]+)")
_COUNTS: Final = {"k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9}


def parse_quantity(text: str, measure: str) -> float | None:
    """The number of `measure` that `text` is, whole where it can be; None for no such thing."""
    match = _WITH_UNIT.fullmatch(text)
    factor = UNITS[measure].get(match[2]) if match else None
    if match is None or factor is None:
        return None
    value = float(match[1].replace("_", "")) * factor
    return int(value) if value.is_integer() else value


def remedy(text: str) -> str:
    """What to write for `text` where a plain number belongs; "" if that is not to be known."""
    match = _WITH_UNIT.fullmatch(text)
    if match is None:
        return ""
    amount = float(match[1].replace("_", ""))
    for factors in (_COUNTS, *UNITS.values()):
        if (factor := factors.get(match[2])) is not None:
            value = amount * factor
            return f": write {number(int(value) if value.is_integer() else value)}"
    return ""
