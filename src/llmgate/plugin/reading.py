"""Bodies and queries of operations, read as the types that they declare."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl

import msgspec

from ..backends.content_coding import IDENTITY
from ..backends.json_body import read_fields
from ..errors import BadRequest, UnsupportedMediaType
from ..exchange.body import about_body

if TYPE_CHECKING:
    from starlette.types import Scope

MAX_FIELDS = 100
"""Fields in one form or query."""

T = TypeVar("T")

_MISSING = re.compile(r"Object missing required field `(\w+)`(?: - at `\$\.?(.*)`)?")
_PLACED = re.compile(r"(.*) - at `(?:key in )?\$\.?(.*)`", re.DOTALL)


class Unprocessable(BadRequest):
    """A body or query that can be read and does not fit its type; many guides have a status of its own for it.

    `place` is "body" or "query", `field` the path of the member that is wrong ("" for the whole), `detail` says
    what is wrong with it, `is_missing` whether it is only that it is not there, and `given` whether anything is.
    """

    def __init__(self, place: str, error: msgspec.ValidationError, *, given: bool = True) -> None:
        self.place = place
        self.given = given
        self.field, self.detail, self.is_missing = _parts(str(error))
        super().__init__(f"{place}: {error}", param=self.field or None)


def read_json(raw: bytes, kind: type[T], *, lenient: bool = False) -> T:
    """A JSON body as a value of `kind`; `lenient` takes text for numbers and nothing for an empty object.

    Raises `BadRequest`, which names the place, and `Unprocessable` for what is JSON, but not of this type.
    """
    if lenient and not raw.strip():
        raw = b"{}"
    fields = read_fields(raw)  # refuses what is no object, or has a member twice: which of the two was meant?
    try:
        return msgspec.json.decode(raw, type=kind, strict=not lenient)
    except msgspec.ValidationError as error:
        raise Unprocessable("body", error, given=bool(fields)) from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadRequest(f"body: {error}") from error


def read_pairs(raw: bytes, kind: type[T], place: str) -> T:
    """A form or a query, in which each name stands once (as RFC 6749, 3.2 wants it) and has a value.

    Raises as `read_json` does; `place` is what messages call it.
    """
    try:
        pairs = parse_qsl(
            raw.decode(),
            keep_blank_values=True,
            strict_parsing=bool(raw),
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError as error:
        raise BadRequest(f"{place}: not of the form name=value&name=value") from error
    values = dict(pairs)
    if len(values) < len(pairs):
        raise BadRequest(f"{place}: a field is given more than once")
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Unprocessable(place, error, given=bool(values)) from error


def _parts(message: str) -> tuple[str, str, bool]:
    """The field, what is wrong with it, and whether it is missing, in what msgspec says."""
    if (missing := _MISSING.fullmatch(message)) is not None:
        name, parent = missing[1], missing[2]
        return f"{parent}.{name}" if parent else name, message, True
    if (placed := _PLACED.fullmatch(message)) is not None:
        return placed[2], placed[1], False
    return "", message, False


def media_type_of(scope: Scope) -> str:
    """The media type that a request says its body has, without parameters; "" where it says none.

    Raises `BadRequest` where it says two, and `UnsupportedMediaType` for a body that is compressed: operations are
    small.
    """
    content_type, coding = about_body(scope)
    if coding.strip().lower() not in IDENTITY:
        raise UnsupportedMediaType("Send the body as it is, without a Content-Encoding.")
    return content_type.partition(b";")[0].strip().lower().decode("latin-1")
