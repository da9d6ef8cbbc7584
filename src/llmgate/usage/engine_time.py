"""How long an engine says that it has worked for one answer: vLLM's `metrics`, llama.cpp's `timings`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

MAX_SECONDS = 7 * 86_400.0
"""An engine that says more has no clock that can be believed."""


class _Times(Struct, gc=False):
    """Milliseconds. vLLM's first two exclude its queue (docs/features/per_request_metrics.md of vLLM)."""

    time_to_first_token_ms: float | None = None
    generation_time_ms: float | None = None
    prompt_ms: float | None = None
    predicted_ms: float | None = None


_times = msgspec.json.Decoder(_Times | None).decode


def times_of(members: Mapping[str, Raw]) -> Raw | None:
    """The member of an answer, or of the event that ends one, that tells its times."""
    return members.get("metrics") or members.get("timings")


def engine_seconds(raw: Raw | None) -> float | None:
    """Seconds for the prompt and the answer together; None where they are not told, or cannot be."""
    if raw is None:
        return None
    try:
        times = _times(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if times is None:
        return None
    told = (times.time_to_first_token_ms, times.generation_time_ms, times.prompt_ms, times.predicted_ms)
    if all(part is None for part in told):
        return None
    seconds = sum(part or 0.0 for part in told) / 1000
    return seconds if 0 <= seconds <= MAX_SECONDS else None
