"""Meters of answers that are no event streams."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

from .model import Certainty, Reading
from .report import is_error, members_of, report_of, string_of
from .tally import SILENT, body_reading, estimate, weigh

if TYPE_CHECKING:
    from ..backends.dialect import Dialect
    from ..backends.request import ModelRequest
    from .report import Report

_WHOLE = 1024 * 1024
_EDGE = 16 * 1024
_KEY = b'"usage"'


class FixedMeter:
    """For answers that use nothing (errors), or are not counted."""

    __slots__ = ("_reading",)
    model = None
    streams = strips = finished = failed = awaits_usage = False

    def __init__(self, reading: Reading | None) -> None:
        self._reading = reading

    def feed(self, data: bytes) -> bytes:
        """Nothing to note."""
        return data

    def end(self) -> bytes:
        """Nothing is held."""
        return b""

    def reading(self, finished: bool) -> Reading | None:
        """What was fixed from the start."""
        return self._reading


class BodyMeter:
    """Keeps an answer's body, or only both ends of one over 1 MiB, and reads its usage at the end.

    Usage stands at the tail (vllm/embed_apikey/embeddings.txt) or the head (llama_server/emb_single.txt).
    """

    __slots__ = ("_dialect", "_head", "_is_text", "_pieces", "_request", "_size", "_tail", "model", "streams")
    strips = finished = False
    awaits_usage = True

    def __init__(
        self, dialect: Dialect, model_request: ModelRequest, *, is_text: bool, streams: bool = False
    ) -> None:
        self.streams = streams
        self.model: str | None = None
        self._dialect = dialect
        self._request = model_request
        self._is_text = is_text
        self._pieces: list[bytes] = []
        self._size = 0
        self._head = b""
        self._tail = b""

    def feed(self, data: bytes) -> bytes:
        """Takes note of `data` and gives it back."""
        self._size += len(data)
        if not self._is_text:
            return data
        if self._size <= _WHOLE:
            self._pieces.append(data)
        else:
            self._keep_ends(data)
        return data

    def end(self) -> bytes:
        """Nothing is held."""
        return b""

    @property
    def failed(self) -> bool:
        """Whether the body is an error, under a status that says otherwise."""
        members = members_of(b"".join(self._pieces))
        return members is not None and is_error(members)

    def reading(self, finished: bool) -> Reading:
        """What the answer used; from a body that was cut, what its end or beginning still tells."""
        whole = b"".join(self._pieces)
        members = members_of(whole)
        if members is not None:
            self.model = string_of(members.get("model"))
            return body_reading(self._dialect, self._request, members)
        tail, head = self._tail or whole, self._head or whole
        report = _report_at(tail, tail.rfind(_KEY)) or _report_at(head, head.find(_KEY))
        if report is not None:
            guess = estimate(self._request, self._size, finished=finished)
            usage, known = weigh(report, guess, silent=self._request.endpoint in SILENT)
            if not known:
                return Reading(usage, Certainty.ESTIMATED)
            sure = finished and (self._dialect.sums_choices or self._request.choices == 1)
            return Reading(usage, Certainty.EXACT if sure else Certainty.PARTIAL)
        # `null` is what vLLM's app answers when it hears that its client has left.
        text = self._size if self._is_text and whole != b"null" else 0
        return Reading(estimate(self._request, text, finished=finished), Certainty.ESTIMATED)

    def _keep_ends(self, data: bytes) -> None:
        if self._pieces:
            whole = b"".join(self._pieces)
            self._pieces.clear()
            self._head, self._tail = whole[:_EDGE], whole[-_EDGE:]
        self._tail = (self._tail + data[-_EDGE:])[-_EDGE:]


def _report_at(fragment: bytes, at: int) -> Report | None:
    """The usage object whose key begins at `at` in a piece of JSON; None if there is none, or not all of it."""
    if at < 0:
        return None
    value = fragment[at + len(_KEY) : at + _EDGE].lstrip(b" \t\r\n:").decode("latin-1")
    try:
        found, _ = json.JSONDecoder().raw_decode(value)
    except (ValueError, RecursionError):
        return None
    return report_of(msgspec.json.encode(found))
