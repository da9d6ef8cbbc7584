"""A `multipart/form-data` body (RFC 7578), as uploads of audio are: which fields it has, and one of them changed.

The whole body is there, so a field is where it stands in it. What readers take in different ways is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from msgspec import Struct
from python_multipart.exceptions import ParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from ..errors import BadRequest
from .json_body import refuse_look_alikes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from python_multipart.multipart import MultipartCallbacks

MULTIPART = b"multipart/form-data"
MAX_PARTS = 1_000
MAX_BOUNDARY = 70
"""Characters, as RFC 2046 5.1.1 has it."""
MAX_MARKS = 2 * MAX_PARTS
"""How often the boundary may stand anywhere in a body."""
_LINE_ENDS = frozenset({b"\r", b"\n", b""})
_LINE_END = re.compile(rb"[ \t]*(?:[\r\n]|$)")
_PLAIN_ENCODINGS = frozenset({b"", b"7bit", b"8bit", b"binary"})
_BOUNDARIES = re.compile(rb"boundary\*?\d*\*?\s*=", re.IGNORECASE)

_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NAMES = re.compile(rb"(?:^|[;\s])name(\*?\d*\*?)\s*=", re.IGNORECASE)
"""The parameter and its other spellings (RFC 2231), which RFC 7578 4.2 forbids and some readers decode."""
_ODD = frozenset("\"'\\")
"""What is left in a name where quotes are open, single or escaped: some readers take it off."""


class Field(Struct, frozen=True):
    """One part: its name, where its value stands in the body, whether it is a file."""

    name: str
    start: int
    end: int
    is_file: bool


class Form(Struct, frozen=True):
    """The parts of a body. `text_bytes` are the values that are no files."""

    boundary: bytes
    fields: tuple[Field, ...]

    @property
    def text_bytes(self) -> int:
        """Bytes of all values that are no files."""
        return sum(field.end - field.start for field in self.fields if not field.is_file)

    def value(self, body: bytes, name: str) -> str | None:
        """The text of the field `name`; None where the form has none. Raises `BadRequest` if it is no text."""
        for field in self.fields:
            if field.name == name:
                try:
                    return body[field.start : field.end].decode()
                except UnicodeDecodeError as error:
                    raise BadRequest(f"form.{name}: not UTF-8", param=name) from error
        return None

    def with_value(self, body: bytes, name: str, value: str) -> bytes:
        """`body` with the field `name` set to `value`, or added in front."""
        for field in self.fields:
            if field.name == name:
                return body[: field.start] + value.encode() + body[field.end :]
        disposition = f'Content-Disposition: form-data; name="{name}"'.encode()
        part = b"--%b\r\n%b\r\n\r\n%b\r\n" % (self.boundary, disposition, value.encode())
        at = body.find(b"--" + self.boundary)
        return body[:at] + part + body[at:]


def is_form(content_type: bytes) -> bool:
    """Whether a body of this type is read as a form."""
    return content_type.partition(b";")[0].strip().lower() == MULTIPART


def read_form(body: bytes, content_type: bytes, counted: Collection[str]) -> Form:
    """The fields of `body`. Raises `BadRequest`, naming the place, if it is no form, or if one of `counted`
    is there twice, is a file, is encoded, or has a name that only some readers take for it.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= MAX_BOUNDARY or len(_BOUNDARIES.findall(content_type)) != 1:
        raise BadRequest(f"Content-Type: expected one boundary of 1 to {MAX_BOUNDARY} characters")
    reader = _Reader(body)
    try:
        parser = MultipartParser(boundary, cast("MultipartCallbacks", reader.callbacks()))
        parser.write(body)
        parser.finalize()
    except ParseError as error:
        raise BadRequest(f"body: no multipart form (byte {error.offset})") from error
    if not reader.is_whole:
        raise BadRequest("body: the form has no end")
    fields = tuple(reader.fields)
    if _delimiters(body, boundary) != len(fields) + 1:
        raise BadRequest(
            "body: the boundary stands in a value, where some readers end it (after a bare line feed)"
        )
    _refuse_ambiguity([field for field in fields if field.name in counted], reader.encoded)
    refuse_look_alikes({field.name for field in fields}, counted, "form")
    return Form(boundary, fields)


def _delimiters(body: bytes, boundary: bytes) -> int:
    """How many lines some reader takes for a boundary: after any end of a line, and with anything behind a last one."""
    mark, found, at = b"--" + boundary, 0, 0
    if body.count(mark) > MAX_MARKS:
        return -1
    while (at := body.find(mark, at)) >= 0:
        before, at = body[at - 1 : at], at + len(mark)
        if before in _LINE_ENDS and (body.startswith(b"--", at) or _LINE_END.match(body, at)):
            found += 1
    return found


def _refuse_ambiguity(fields: Iterable[Field], encoded: Collection[str]) -> None:
    seen = set()
    for field in fields:
        name = field.name
        if field.is_file or name in encoded or field.start == field.end:
            raise BadRequest(f"form.{name}: expected plain text, no file, nothing encoded", param=name)
        if name in seen:
            raise BadRequest(f"form.{name}: given more than once", param=name)
        seen.add(name)


class _Reader:
    """Takes note of parts as the parser finds them."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.fields: list[Field] = []
        self.encoded: set[str] = set()
        self.is_whole = False
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""
        self._start = self._end = -1

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        if len(self.fields) == MAX_PARTS:
            raise BadRequest(f"body: over the limit of {MAX_PARTS} form fields")
        self._headers = {}
        self._start = self._end = -1

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        name = self._name.strip().lower()
        if name in self._headers:
            raise BadRequest(f"body: a form field with two headers {name.decode('latin-1')}")
        self._headers[name] = self._value
        self._name = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if data is not self._body:
            raise BadRequest("body: a form field has the beginning of a boundary in its value")
        self._start = start if self._start < 0 else self._start
        self._end = end

    def _part_end(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        name = parse_options_header(disposition)[1].get(b"name", b"").decode(errors="replace")
        spellings = _NAMES.findall(_QUOTED.sub(b'""', disposition))
        if len(spellings) > 1 or any(spellings) or not _ODD.isdisjoint(name) or name != name.strip():
            raise BadRequest(
                f'body: a form field with a name that readers differ in: write name="{_plain(name)}"'
            )
        self.fields.append(Field(name, self._start, self._end, b"filename" in disposition.lower()))
        if self._headers.get(b"content-transfer-encoding", b"").strip().lower() not in _PLAIN_ENCODINGS:
            self.encoded.add(name)

    def _finish(self) -> None:
        self.is_whole = True


def _plain(name: str) -> str:
    return "".join(letter for letter in name if letter not in _ODD) or "..."
