"""The meter of an answer that comes compressed, though nobody had offered to read that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .estimate import estimate
from .model import Certainty, Reading

if TYPE_CHECKING:
    from ..backends.content_coding import AnswerDecoder
    from ..backends.request import ModelRequest
    from .model import Meter

_RATIO = 4
"""What is taken for compressed text: four times as long as it comes."""


class UnreadMeter:
    """For an answer in a coding that is not known here: it goes on as it came."""

    __slots__ = ("_request", "_size", "streams")
    model = None
    strips = finished = failed = False
    awaits_usage = True

    def __init__(self, model_request: ModelRequest, *, streams: bool) -> None:
        self.streams = streams
        self._request = model_request
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """Takes note of how long `data` is."""
        self._size += len(data)
        return data

    def end(self) -> bytes:
        """Nothing is held."""
        return b""

    def reading(self, finished: bool) -> Reading:
        """By its length."""
        usage = estimate(self._request, self._size * _RATIO, finished=finished, generated_bytes=0)
        return Reading(usage, Certainty.ESTIMATED)


class CompressedMeter:
    """Shows the decoded answer to another meter.

    An answer in which the gate has asked for something goes on decoded, as it may get shorter; all others go on
    as they came. One that cannot be decoded goes on as it came and is estimated by its length.
    """

    def __init__(self, decoder: AnswerDecoder, meter: Meter) -> None:
        self._decoder = decoder
        self._meter = meter
        self.strips = meter.strips
        self._lost = 0

    @property
    def streams(self) -> bool:
        """See `Meter`."""
        return self._meter.streams

    @property
    def finished(self) -> bool:
        """See `Meter`."""
        return self._meter.finished

    @property
    def failed(self) -> bool:
        """See `Meter`."""
        return self._meter.failed

    @property
    def awaits_usage(self) -> bool:
        """See `Meter`."""
        return self._meter.awaits_usage

    @property
    def model(self) -> str | None:
        """The model named in the answer, once it has been."""
        return self._meter.model

    def feed(self, data: bytes) -> bytes:
        """Takes note of what `data` decodes to."""
        out = b"".join([self._meter.feed(piece) for piece in self._decoder.feed(data)])
        if not self._decoder.is_sound:
            self._lost += len(data)
        return out if self.strips else data

    def end(self) -> bytes:
        """What is still held, once the upstream has finished."""
        out = self._meter.end()
        return out if self.strips else b""

    def reading(self, finished: bool) -> Reading | None:
        """What the answer used; of what could not be decoded, a token for each byte that came."""
        reading = self._meter.reading(finished)
        if reading is None or not self._lost:
            return reading
        output_tokens = max(reading.usage.output_tokens, self._lost * _RATIO // 4)
        usage = msgspec.structs.replace(reading.usage, output_tokens=output_tokens)
        return Reading(usage, Certainty.ESTIMATED)
