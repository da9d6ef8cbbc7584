"""How a problem in gate.toml is put into words: the place, and what was found there.

Nothing here may leak: values are shown short, on one line, and without the credentials of a URL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_URL_CREDENTIALS = re.compile(r"//\S*@")
_MAX_SHOWN = 60
_TOML_TYPES: Mapping[type, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "an array",
    dict: "a table",
}
INT_LIMIT = 1 << 63
"""TOML integers are signed and have 64 bits (https://toml.io/en/v1.0.0#integer)."""


def quoted(text: str) -> str:
    """`text` in double quotes, cut to a readable length; nothing in it can forge a line or move a cursor."""
    text = without_credentials(text)
    if len(text) > _MAX_SHOWN:
        text = text[:_MAX_SHOWN] + "…"
    return "".join(
        letter if letter.isprintable() else _escaped(letter)
        for letter in json.dumps(text, ensure_ascii=False)
    )


def _escaped(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"


def without_credentials(url: str) -> str:
    """`url` with `***` for the user and the password."""
    return _URL_CREDENTIALS.sub("//***@", url)


def found(value: object) -> str:
    """A TOML value as it is named in a problem: scalars as they were written, the rest by kind."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int) and not fits(value):
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, int | float):
        return str(value)
    return toml_type(value)


def toml_type(value: object) -> str:
    """What TOML calls a value of this kind: used alone where the value itself may be a secret."""
    return _TOML_TYPES.get(type(value), "a date or time")


def fits(value: int) -> bool:
    """Whether `value` is an integer that TOML can hold."""
    return -INT_LIMIT <= value < INT_LIMIT


def number(value: float) -> str:
    """A number as TOML writes it, its digits in groups where there are many."""
    if isinstance(value, float) and value.is_integer() and abs(value) >= 10_000:
        value = int(value)
    return f"{value:_}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)


def join(place: str, key: str) -> str:
    """The place of `key` in the table at `place`: `upstreams.vllm`, `prices."gpt-4.1"`."""
    shown = key if _BARE_KEY.fullmatch(key) else quoted(key)
    return f"{place}.{shown}" if place else shown


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The problem with a key that no setting has, and which one was probably meant."""
    known = list(known)
    close = get_close_matches(key, known, n=1)
    remedy = f"did you mean {quoted(close[0])}?" if close else f"known: {', '.join(known)}"
    return f"unknown key ({remedy})"


def dangling(what: str, name: str, known: Iterable[str]) -> str:
    """The problem with a name that stands for nothing: `no upstream "vlm" (known: vllm, openai)`."""
    listed = [each if each.isprintable() else quoted(each) for each in known]
    return f"no {what} {quoted(name)} (known: {', '.join(listed) or 'none'})"


def alternatives(options: Iterable[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    *most, last = options
    return f"{', '.join(most)} or {last}" if most else last
