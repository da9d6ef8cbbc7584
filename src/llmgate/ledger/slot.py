"""One request in the journal: how its slot is written while it runs and when it ends, and read after a crash.

A process may be killed between any two instructions. So a slot is first written and then made valid by one
store of one word, and a record that has ended is written beside the one that was admitted, not over it.
"""

from __future__ import annotations

import math
from struct import Struct
from typing import TYPE_CHECKING, Protocol

import msgspec

from ..errors import StoreError
from ..usage.model import Certainty
from .model import Outcome, Pledge, UsageRecord

if TYPE_CHECKING:
    import mmap
    from collections.abc import Sequence

    Place = tuple[mmap.mmap, int]
    """A mapping, and where in it a slot begins."""

SLOT = 1536
"""Bytes."""
_STATE = Struct("@Q")
"""The lengths of the texts that follow the counts, 16 bits each: what is pledged, the record as it was when the
request was admitted, and the record as the request ended, or 0. All 0: the slot is free."""
_COUNTS = Struct("@5q3dhbb")  # native, so that each number is written by one store
_COUNTS_AT = _STATE.size
_TEXTS_AT = _COUNTS_AT + _COUNTS.size
_ROOM = SLOT - _TEXTS_AT
_GROWS_BY = 64
"""Bytes that a record's numbers may need more when it ends than when it was admitted."""
_NAME = 64
"""Bytes that are left of a name where the names of a record are too long for a slot."""
_OUTCOMES = tuple(Outcome)
_CERTAINTIES = tuple(Certainty)
_OUTCOME = {outcome: number for number, outcome in enumerate(_OUTCOMES)}
_CERTAINTY = {certainty: number for number, certainty in enumerate(_CERTAINTIES)}
_encode = msgspec.msgpack.Encoder().encode
_decode_record = msgspec.msgpack.Decoder(UsageRecord).decode
_decode_pledges = msgspec.msgpack.Decoder(tuple[Pledge, ...]).decode


def texts_of(record: UsageRecord, pledges: Sequence[Pledge]) -> tuple[bytes, bytes]:
    """What a slot says of a request that is admitted: what it pledges, and its record. Both in MessagePack.

    Raises `StoreError` if it does not fit.
    """
    pledged, drafted = _encode(pledges), _encode(record)
    if len(pledged) + 2 * len(drafted) + _GROWS_BY > _ROOM:
        drafted = _encode(_shortened(record))
        if len(pledged) + len(drafted) > _ROOM:
            raise StoreError(f"a request draws on {len(pledges)} quotas, which is more than can be kept")
    return pledged, drafted


class Pool(Protocol):
    """Where slots come from."""

    def take_back(self, place: Place) -> None:
        """Use this place again."""


class Slot:
    """The place of one request in the journal, under way from here on."""

    __slots__ = ("_at", "_ended", "_lengths", "_map", "_pool", "_used")

    def __init__(self, pool: Pool, place: Place, record: UsageRecord, texts: tuple[bytes, bytes]) -> None:
        pledged, drafted = texts
        self._pool: Pool | None = pool
        self._map, at = place
        self._at = at
        self._ended = False
        self._used = len(pledged) + len(drafted)
        self._lengths = len(pledged) | len(drafted) << 16
        counts = _COUNTS.pack(*_counts_of(record))
        self._map[at + _COUNTS_AT : at + _TEXTS_AT + self._used] = b"%b%b%b" % (counts, pledged, drafted)
        _STATE.pack_into(self._map, at, self._lengths)

    def note(self, record: UsageRecord) -> None:
        """Keep the counts of `record`, its times, status, certainty and outcome, in place of those before.

        Does nothing once the request has ended.
        """
        if not self._ended:
            _COUNTS.pack_into(self._map, self._at + _COUNTS_AT, *_counts_of(record))

    def end(self, record: UsageRecord) -> None:
        """The request has ended so: kill -9 changes nothing about it any more. Only the first call counts.

        Where a slot is too small for names of this length, its numbers count and its names are those that it was
        admitted with.
        """
        if self._ended:
            return
        text = _encode(record)
        if self._used + len(text) > _ROOM:
            text = _encode(_shortened(record))
        if self._used + len(text) <= _ROOM:
            start = self._at + _TEXTS_AT + self._used
            self._map[start : start + len(text)] = text
            _STATE.pack_into(self._map, self._at, self._lengths | len(text) << 32)
        else:
            self.note(record)
        self._ended = True

    def free(self) -> None:
        """Forget the request: its record is in the ledger. Does nothing the second time."""
        if self._pool is not None:
            self._ended = True
            _STATE.pack_into(self._map, self._at, 0)
            self._pool.take_back((self._map, self._at))
            self._pool = None


def _counts_of(record: UsageRecord) -> tuple[float, ...]:
    first_byte = record.first_byte
    return (
        record.input_tokens,
        record.output_tokens,
        record.cached_tokens,
        record.reasoning_tokens,
        record.cost,
        record.at,
        record.duration,
        math.nan if first_byte is None else first_byte,
        record.status,
        _CERTAINTY[record.certainty],  # type: ignore[index]
        _OUTCOME[record.outcome],  # type: ignore[index]
    )


def read_slot(data: bytes, at: int) -> tuple[UsageRecord, tuple[Pledge, ...]] | None:
    """What the slot at `at` says of a request, and what it has pledged; None if it is free. Raises `MsgspecError`."""
    (lengths,) = _STATE.unpack_from(data, at)
    if not lengths:
        return None
    texts, start = [], at + _TEXTS_AT
    for shift in (0, 16, 32):
        end = min(start + (lengths >> shift & 0xFFFF), at + SLOT)
        texts.append(data[start:end])
        start = end
    pledged, drafted, ended = texts
    pledges = _decode_pledges(pledged)
    return (_decode_record(ended) if ended else _counted(_decode_record(drafted), data, at)), pledges


def _counted(drafted: UsageRecord, data: bytes, at: int) -> UsageRecord:
    tokens_in, out, cached, reasoning, cost, ended, duration, first, status, certainty, outcome = (
        _COUNTS.unpack_from(data, at + _COUNTS_AT)
    )
    return msgspec.structs.replace(
        drafted,
        input_tokens=tokens_in,
        output_tokens=out,
        cached_tokens=cached,
        reasoning_tokens=reasoning,
        cost=cost,
        at=ended,
        duration=duration,
        first_byte=None if math.isnan(first) else first,
        status=status,
        certainty=_CERTAINTIES[certainty],
        outcome=_OUTCOMES[outcome],
    )


def _shortened(record: UsageRecord) -> UsageRecord:
    fields = msgspec.structs.asdict(record)
    texts = {name: value for name, value in fields.items() if type(value) is str and name != "request_id"}
    return msgspec.structs.replace(record, **{name: _cut(text) for name, text in texts.items()})


def _cut(text: str) -> str:
    return text.encode()[:_NAME].decode(errors="ignore")
