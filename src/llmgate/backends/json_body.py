"""A JSON body of a request as its members, within bounds and in linear time: sans-IO.

Backends differ in what they make of an odd body: which of two equal keys they obey, whether `Max_Tokens` is
`max_tokens`, how deep they follow it. What is counted or limited here must not be read otherwise there, so
such a body is refused, with the place in the message.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from ..errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_MEMBERS = 1_000
"""Members of the body itself: APIs know a hundred."""
MAX_DEPTH = 100
"""Lists and objects within each other: schemas of tools go to 20, .NET's readers follow 64."""
MAX_PARTS = 200_000
"""Strings (the keys of members are some), and as many lists and objects."""
MAX_DIGITS = 400
"""Digits of a number in a row: the largest double has 309."""

_BOM = b"\xef\xbb\xbf"
_KEY = re.compile(rb'[\s{,]*("(?:[^"\\]++|\\.)*+")[\s:]*')
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_ZEROS = bytes(ord("0") if chr(byte).isdigit() and byte < 128 else byte for byte in range(256))
"""Each digit as 0: finding a run of zeros in C is faster than any pattern."""
_has_digit = re.compile(rb"\d").search
"""Of every 400th byte, a number that is too long has one."""
_LONG = b"0" * (MAX_DIGITS + 1)
_STEPS = bytes({ord("["): 1, ord("{"): 1, ord("]"): 255, ord("}"): 255}.get(byte, 0) for byte in range(256))
_REST = bytes(byte for byte in range(256) if chr(byte) not in "[]{}")

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_string = msgspec.json.Decoder(str).decode


def read_fields(body: bytes, *, place: str = "body") -> dict[str, Raw]:
    """The members of a JSON object, their values as they were written. A byte order mark is skipped.

    Raises `BadRequest` for what is no JSON object in UTF-8, has a key twice or passes one of the bounds of
    this module; the message begins with `place` and names the key, the byte or the bound.
    """
    body = body.removeprefix(_BOM)
    try:
        if not body.isascii():
            body.decode()
        fields = _members(body)
    except UnicodeDecodeError as error:
        raise BadRequest(f"{place}: not UTF-8 at byte {error.start}") from error
    except msgspec.ValidationError as error:
        raise BadRequest(f"{place}: expected a JSON object") from error
    except msgspec.DecodeError as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        where = "" if "(byte" in reason else f" (byte {len(body)})"
        raise BadRequest(f"{place}: not JSON: {reason}{where}") from error
    except RecursionError as error:
        raise _too_deep(place) from error
    if len(fields) > MAX_MEMBERS:
        raise BadRequest(f"{place}: {len(fields)} members, over the limit of {MAX_MEMBERS}")
    _refuse_excess(body, place)
    _refuse_duplicates(body, fields, place)
    return fields


def has_duplicates(raw: bytes | Raw, decoded: object) -> bool:
    """Whether an object anywhere within `raw` has a key twice; `decoded` is what it was decoded to.

    Of two equal keys readers take the last (most), or the first (RapidJSON's, in OpenVINO's model server).
    """
    if msgspec.json.encode(decoded) == bytes(raw):
        return False
    try:
        json.loads(bytes(raw), object_pairs_hook=_once)
    except _TwiceError:
        return True
    return False


def _once(pairs: list[tuple[str, object]]) -> None:
    if len(pairs) > 1 and len({name for name, _ in pairs}) < len(pairs):
        raise _TwiceError


class _TwiceError(Exception):
    pass


def refuse_look_alikes(fields: Collection[str], counted: Collection[str], place: str = "body") -> None:
    """Raise `BadRequest` for a key that some readers take for one in `counted` (Go's and .NET's ignore case, PHP's
    take `name[]` for a list, and those of protocol buffers `maxTokens` for max_tokens).

    The long s and the Kelvin sign are letters s and k to them, too: what counts is Unicode's case folding.
    """
    for name in fields:
        if name not in counted and (meant := meant_by(name, counted)) is not None:
            raise BadRequest(f"{place}.{name}: some backends read it as {meant}; write it so", param=name)


def meant_by(name: str, counted: Collection[str]) -> str | None:
    """The name in `counted` that `name` is to some readers; None where it is none."""
    return _bare(frozenset(counted)).get(_letters(name))


@lru_cache(16)
def _bare(names: frozenset[str]) -> dict[str, str]:
    return {_letters(name): name for name in names}


def _letters(name: str) -> str:
    return name.removesuffix("[]").casefold().replace("_", "")


def _refuse_excess(body: bytes, place: str) -> None:
    """Hold the body to the bounds of depth, digits and parts.

    Nearly every body is within them by what C can count of its bytes; of another, strings are set aside first,
    as a text may have any number of brackets and digits.
    """
    if len(body) > 2 * MAX_PARTS:
        _refuse_strings(body, place)
    # What `replace` takes out is found by memchr; `count` looks at each byte in turn, ten times as long.
    opened = 2 * len(body) - len(body.replace(b"[", b"")) - len(body.replace(b"{", b""))
    if opened <= MAX_DEPTH and not (_has_digit(body[::MAX_DIGITS]) and _LONG in body.translate(_ZEROS)):
        return
    bare = _STRING.sub(b"", body)
    if _LONG in bare.translate(_ZEROS):
        raise BadRequest(f"{place}: a number of over {MAX_DIGITS} digits")
    brackets = bare.translate(_STEPS, _REST)
    if len(brackets) > 2 * MAX_PARTS:
        raise BadRequest(f"{place}: over the limit of {MAX_PARTS} lists and objects")
    if max(accumulate(1 if step == 1 else -1 for step in brackets)) > MAX_DEPTH:
        raise _too_deep(place)


def _refuse_strings(body: bytes, place: str) -> None:
    quotes = body.count(b'"')
    if quotes > 2 * MAX_PARTS:
        quotes -= body.count(b'\\"')
        if quotes > 2 * MAX_PARTS:
            raise BadRequest(f"{place}: over the limit of {MAX_PARTS} strings")


def _too_deep(place: str) -> BadRequest:
    return BadRequest(f"{place}: nested too deeply, over the limit of {MAX_DEPTH} lists and objects")


def _refuse_duplicates(body: bytes, fields: dict[str, Raw], place: str) -> None:
    """Backends differ in which of two equal keys they obey, so a limit could be read here and escape there.

    Of two equal keys the last value was kept. So a body that is its fields, one after the other, has no
    duplicates, which a comparison tells where clients write no spaces, as most do. Otherwise it is walked once:
    a key seen before is given twice, and so is one that is followed by another value than the one kept.
    """
    if msgspec.json.encode(fields) == body:
        return
    at, seen, name = 0, set[str](), ""
    while (key := _KEY.match(body, at)) is not None:
        written = key[1]
        name = _string(written) if b"\\" in written else written[1:-1].decode()
        value = fields[name]
        if name in seen or not body.startswith(value, key.end()):
            raise _twice(name, place)
        seen.add(name)
        at = key.end() + len(memoryview(value))
    if body[at:].strip(b" \t\r\n") != b"}" and fields:
        raise _twice(name, place)  # the value kept, of a number, is the beginning of the one that stands here


def _twice(name: str, place: str) -> BadRequest:
    return BadRequest(f"{place}.{name}: given more than once", param=name)
