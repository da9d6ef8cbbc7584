"""Metering an answer while it passes: which meter, and what to ask the backend for so that it has a count."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

import msgspec

from ..backends.endpoint import Endpoint
from .model import Certainty, Reading, Usage
from .report import members_of, string_of, usage_of
from .stream import StreamMeter, StrippingMeter
from .tally import body_reading, estimate

if TYPE_CHECKING:
    from ..backends.dialect import Dialect
    from ..backends.request import ModelRequest

_WHOLE = 1024 * 1024
_EDGE = 16 * 1024
_KEY = b'"usage"'


class Meter(Protocol):
    """Sees an answer's bytes pass and knows in the end what they used. Sans-IO; one for each request.

    `streams`: the answer is a stream, whose pieces go out as they come. `strips`: it may get shorter on the
    way. `finished`: what `feed` gave back has told the client that nothing more is to come.
    """

    streams: bool
    strips: bool
    finished: bool

    @property
    def model(self) -> str | None:
        """The model named in the answer, once it has been."""

    def feed(self, data: bytes) -> bytes:
        """Take note of `data`; give back what may go to the client now, `data` itself if nothing comes out."""

    def end(self) -> bytes:
        """What is still held, once the upstream has finished."""

    def reading(self, finished: bool) -> Reading | None:
        """What the answer used; `finished` is False if it was cut by either side. None if nothing is counted.

        EXACT if the backend reported the whole answer, or refused it; PARTIAL with its last report if the
        answer was cut or ended in an error; else ESTIMATED: a token for every 4 bytes of the request's body
        and of the text generated so far, one at least for an answer that finished.
        """


def inject(dialect: Dialect, model_request: ModelRequest) -> dict[str, object]:
    """The changes for `rewrite` that make the backend report usage on this stream; {} if it will anyhow.

    The client's own stream options are kept.
    """
    if not _asks_for_usage(dialect, model_request):
        return {}
    options: dict[str, object] = dict(members_of(model_request.fields.get("stream_options")) or {})
    options["include_usage"] = True
    if dialect.continuous:
        options["continuous_usage_stats"] = True
    return {"stream_options": options}


def meter_for(
    dialect: Dialect, model_request: ModelRequest, *, status: int, content_type: bytes | None
) -> Meter:
    """The meter for an answer with this status and content type (None if it names none)."""
    if model_request.endpoint is Endpoint.OTHER:
        return FixedMeter(None)
    if not 200 <= status < 300:
        return FixedMeter(Reading(Usage(0, 0), Certainty.EXACT))
    kind = (content_type or b"").lower()
    if not kind.startswith(b"text/event-stream"):
        return BodyMeter(
            dialect, model_request, is_text=not kind or kind.startswith((b"text/", b"application/json"))
        )
    if _asks_for_usage(dialect, model_request):
        return StrippingMeter(dialect, model_request)
    return StreamMeter(dialect, model_request)


def unanswered(model_request: ModelRequest) -> Reading:
    """The reading of a request that was cut before an answer began: its prompt, estimated."""
    return Reading(estimate(model_request, 0, finished=False), Certainty.ESTIMATED)


class FixedMeter:
    """For answers that use nothing (errors), or are not counted."""

    __slots__ = ("_reading",)
    model = None
    streams = strips = finished = False

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

    __slots__ = ("_ask", "_dialect", "_head", "_is_text", "_pieces", "_size", "_tail", "model")
    streams = strips = finished = False

    def __init__(self, dialect: Dialect, model_request: ModelRequest, *, is_text: bool) -> None:
        self.model: str | None = None
        self._dialect = dialect
        self._ask = model_request
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

    def reading(self, finished: bool) -> Reading:
        """What the answer used; from a body that was cut, what its end or beginning still tells."""
        whole = b"".join(self._pieces)
        members = members_of(whole)
        if members is not None:
            self.model = string_of(members.get("model"))
            return body_reading(self._dialect, self._ask, members)
        tail, head = self._tail or whole, self._head or whole
        usage = _usage_at(tail, tail.rfind(_KEY)) or _usage_at(head, head.find(_KEY))
        if usage is not None:
            sure = finished and (self._dialect.sums_choices or self._ask.choices == 1)
            return Reading(usage, Certainty.EXACT if sure else Certainty.PARTIAL)
        text = self._size if self._is_text else 0
        return Reading(estimate(self._ask, text, finished=finished), Certainty.ESTIMATED)

    def _keep_ends(self, data: bytes) -> None:
        if self._pieces:
            whole = b"".join(self._pieces)
            self._pieces.clear()
            self._head, self._tail = whole[:_EDGE], whole[-_EDGE:]
        self._tail = (self._tail + data[-_EDGE:])[-_EDGE:]


def _usage_at(fragment: bytes, at: int) -> Usage | None:
    """The usage object whose key begins at `at` in a piece of JSON; None if there is none, or not all of it."""
    if at < 0:
        return None
    value = fragment[at + len(_KEY) : at + _EDGE].lstrip(b" \t\r\n:").decode("latin-1")
    try:
        found, _ = json.JSONDecoder().raw_decode(value)
    except (ValueError, RecursionError):
        return None
    return usage_of(msgspec.json.encode(found))


def _asks_for_usage(dialect: Dialect, model_request: ModelRequest) -> bool:
    has_asked = model_request.wants_usage and (model_request.wants_continuous or not dialect.continuous)
    return model_request.stream and model_request.endpoint in dialect.include_usage and not has_asked
