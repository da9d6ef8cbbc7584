"""The meter of an answer to a request for a stream that does not say that it is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .body import BodyMeter
    from .model import Reading
    from .stream import StreamMeter

_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
"""How events begin: with a field or a comment."""
MAX_HEAD = 256
"""Bytes that are held at the most, all of them blank."""
_BOM = b"\xef\xbb\xbf"


class UnlabelledMeter:
    """Reads events or a body, whichever the first bytes are of: some servers send events as text or JSON."""

    __slots__ = ("_body", "_head", "_meter", "_stream")

    def __init__(self, stream: StreamMeter, body: BodyMeter) -> None:
        self._stream = stream
        self._body = body
        self._head = b""
        self._meter: StreamMeter | BodyMeter | None = None

    @property
    def strips(self) -> bool:
        """As a stream, it may get shorter."""
        return self._stream.strips

    @property
    def streams(self) -> bool:
        """Whether these are events, as far as is known."""
        return self._meter is self._stream

    @property
    def _current(self) -> StreamMeter | BodyMeter:
        return self._body if self._meter is None else self._meter

    @property
    def finished(self) -> bool:
        """See `Meter`."""
        return self._current.finished

    @property
    def failed(self) -> bool:
        """See `Meter`."""
        return self._current.failed

    @property
    def awaits_usage(self) -> bool:
        """See `Meter`."""
        return self._current.awaits_usage

    @property
    def model(self) -> str | None:
        """The model named in the answer, once it has been."""
        return self._current.model

    def feed(self, data: bytes) -> bytes:
        """Takes note of `data`; until it is known what it is, that is held."""
        if self._meter is None:
            self._head += data
            start = self._head.removeprefix(_BOM).lstrip(b" \t\r\n")
            if len(self._head) < MAX_HEAD and any(
                begin.startswith(start) and begin != start for begin in (*_FIELDS, _BOM)
            ):
                return b""
            self._meter = self._stream if start.startswith(_FIELDS) else self._body
            data, self._head = self._head, b""
        return self._meter.feed(data)

    def end(self) -> bytes:
        """What is still held, once the upstream has finished."""
        if self._meter is None:
            self._meter = self._body
            return self._body.feed(self._head)
        return self._meter.end()

    def reading(self, finished: bool) -> Reading:
        """What the answer used."""
        return self._current.reading(finished)
