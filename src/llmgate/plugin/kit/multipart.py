"""The one file in a `multipart/form-data` body (RFC 7578), piece by piece as it arrives. Sans-IO.

Only the name of the form's field is read. What the client calls the file, or says of its type, is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ..api import BadRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..api import Header

FIELD = b"file"
LONGEST_BOUNDARY = 70  # RFC 2046, 5.1.1
LARGEST_HEAD = 16_384


class FileForm:
    """`feed` gives what belongs to the file; `end` says whether there was one, whole."""

    def __init__(self, content_type: str) -> None:
        """Raises `BadRequest` unless `content_type` is that of a form with a boundary."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= LONGEST_BOUNDARY:
            raise BadRequest("Send the file as multipart/form-data, in a field called `file`.")
        self._pieces: list[bytes] = []
        self._head: list[Header] = []
        self._head_size = 0
        self._name, self._value = b"", b""
        self._in_file = self._found = self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def feed(self, data: bytes) -> Sequence[bytes]:
        """The pieces of the file in `data`. Raises `BadRequest` for what is no such form."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise BadRequest(f"The form cannot be read: {error}") from error
        pieces, self._pieces = self._pieces, []
        return pieces

    def end(self) -> None:
        """The body is over. Raises `BadRequest` if the form is not, or had no file."""
        if not self._complete:
            raise BadRequest("The form ends before its last boundary.")
        if not self._found:
            raise BadRequest("The form has no field called `file`.")

    def _begin(self) -> None:
        self._head, self._head_size = [], 0
        self._name, self._value = b"", b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += self._measured(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._measured(data[start:end])

    def _header_end(self) -> None:
        self._head.append((self._name.lower(), self._value))
        self._name, self._value = b"", b""

    def _headers_finished(self) -> None:
        disposition = next((value for name, value in self._head if name == b"content-disposition"), b"")
        kind, options = parse_options_header(disposition)
        self._in_file = kind == b"form-data" and options.get(b"name") == FIELD
        if self._in_file and self._found:
            raise BadRequest("The form has more than one field called `file`.")
        self._found = self._found or self._in_file

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._pieces.append(data[start:end])

    def _end(self) -> None:
        self._in_file = False

    def _finish(self) -> None:
        self._complete = True

    def _measured(self, data: bytes) -> bytes:
        self._head_size += len(data)
        if self._head_size > LARGEST_HEAD:
            raise BadRequest("A field of the form has headers that are too long.")
        return data
