"""Metering an answer while it passes: which meter, and what to ask the backend for so that it has a count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backends.content_coding import IDENTITY, answer_decoder
from ..backends.endpoint import Endpoint
from .body import BodyMeter, FixedMeter
from .compressed import CompressedMeter, UnreadMeter
from .estimate import estimate
from .model import Certainty, Meter, Reading, Usage
from .report import members_of
from .stream import StreamMeter
from .stripping import TIMINGS, USAGE, StrippingMeter
from .unlabelled import UnlabelledMeter

if TYPE_CHECKING:
    from ..backends.dialect import Dialect
    from ..backends.request import ModelRequest

_NOTHING: frozenset[str] = frozenset()
_ONLY_USAGE = frozenset({USAGE})
_EVENTS = b"text/event-stream"
_TEXTS = (b"text/", b"application/json", b"application/x-ndjson")


def inject(dialect: Dialect, model_request: ModelRequest) -> dict[str, object]:
    """The changes for `rewrite` that make the backend report usage on this stream; {} if it will anyhow.

    The client's own stream options are kept.
    """
    if not model_request.stream:
        return {}
    asked = _asked_for(dialect, model_request)
    changes: dict[str, object] = {}
    if USAGE in asked:
        options: dict[str, object] = dict(members_of(model_request.fields.get("stream_options")) or {})
        options["include_usage"] = True
        if dialect.continuous:
            options["continuous_usage_stats"] = True
        changes["stream_options"] = options
    if TIMINGS in asked:
        changes["timings_per_token"] = True
    return changes


def meter_for(
    dialect: Dialect,
    model_request: ModelRequest,
    *,
    status: int,
    content_type: bytes | None,
    content_encoding: bytes = b"",
) -> Meter:
    """The meter for an answer with this status, content type (None if it names none) and coding."""
    if model_request.endpoint is Endpoint.OTHER:
        return FixedMeter(None)
    if not 200 <= status < 300:
        return FixedMeter(Reading(Usage(0, 0), Certainty.EXACT))
    kind = (content_type or b"").lower()
    is_stream = kind.startswith(_EVENTS)
    if content_encoding and content_encoding.strip().lower() not in IDENTITY:
        decoder = answer_decoder(content_encoding)
        if decoder is None:
            return UnreadMeter(model_request, streams=is_stream)
        return CompressedMeter(decoder, _plain_meter(dialect, model_request, kind))
    return _plain_meter(dialect, model_request, kind)


def unanswered(model_request: ModelRequest) -> Reading:
    """The reading of a request that was cut before an answer began: its prompt, estimated."""
    return Reading(estimate(model_request, 0, finished=False), Certainty.ESTIMATED)


def _plain_meter(dialect: Dialect, model_request: ModelRequest, kind: bytes) -> Meter:
    body = BodyMeter(dialect, model_request, is_text=not kind or kind.startswith(_TEXTS))
    if not kind.startswith(_EVENTS) and not model_request.stream:
        return body
    asked = _asked_for(dialect, model_request)
    stream = StrippingMeter(dialect, model_request, asked) if asked else StreamMeter(dialect, model_request)
    return stream if kind.startswith(_EVENTS) else UnlabelledMeter(stream, body)


def _asked_for(dialect: Dialect, model_request: ModelRequest) -> frozenset[str]:
    """The members of chunks for which the gate asks and the client has not."""
    if not model_request.stream:
        return _NOTHING
    endpoint, asked = model_request.endpoint, _NOTHING
    has_asked = model_request.wants_usage and (model_request.wants_continuous or not dialect.continuous)
    if endpoint in dialect.include_usage and not has_asked:
        asked = _ONLY_USAGE
    if endpoint in dialect.timings_per_token and not model_request.wants_timings:
        asked |= {TIMINGS}
    return asked
