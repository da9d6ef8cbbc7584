"""What nobody saw and nobody counted, where a client has left: thoughts of a stream, and a plain answer's text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..backends.endpoint import Endpoint
from ..backends.output_limit import output_bound
from .model import Certainty, Reading

if TYPE_CHECKING:
    from ..backends.dialect import Dialect
    from ..backends.request import ModelRequest

PAUSE_S = 1.0
"""Seconds without text that are no pause for thought."""

UNSEEN_RATE = 1000
"""Tokens a second that are taken to have been made for each choice of a plain answer that never came: few engines make
more of one, so that nobody saves by leaving. It soon comes to the request's own limit."""
_GENERATED = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES, Endpoint.MESSAGES})


class Silence:
    """How long a stream has said nothing, all such times together; those under `PAUSE_S` are left out.

    Times are seconds of any one clock, told at each `note`: how many tokens of text have passed until `now`.
    """

    __slots__ = ("_since", "_tokens", "_total")

    def __init__(self, now: float) -> None:
        self._since = now
        self._tokens = 0
        self._total = 0.0

    def note(self, tokens: int, now: float) -> None:
        """So many have passed by now."""
        if tokens != self._tokens:
            self._total = self.seconds(now)
            self._tokens, self._since = tokens, now

    def seconds(self, now: float) -> float:
        """All of it until now."""
        pause = now - self._since
        return self._total + (pause if pause >= PAUSE_S else 0.0)


def with_hidden(dialect: Dialect, model_request: ModelRequest, reading: Reading, seconds: float) -> Reading:
    """`reading` of a stream that its client has left before its count came, and that said nothing for `seconds`.

    As many tokens as may have been thought meanwhile (`Dialect.hidden_rate`) are part of the output then, within the
    limit that the request went up with.
    """
    thought = int(seconds * dialect.hidden_rate)
    usage = reading.usage
    if (bound := output_bound(dialect, model_request)) is not None:
        thought = min(thought, bound * model_request.choices - usage.output_tokens)
    if thought <= 0:
        return reading
    usage = msgspec.structs.replace(
        usage,
        output_tokens=usage.output_tokens + thought,
        reasoning_tokens=usage.reasoning_tokens + thought,
    )
    return Reading(usage, Certainty.ESTIMATED)


def with_unseen(dialect: Dialect, model_request: ModelRequest, reading: Reading, seconds: float) -> Reading:
    """`reading` of a plain answer that was left `seconds` after it was asked for, before its count came.

    Such an answer is made in silence and comes all at once: as much as may have been made meanwhile is charged, within
    the limit that the request went up with, so that leaving is no cheaper than staying.
    """
    if model_request.endpoint not in _GENERATED:
        return reading
    made = int(seconds * UNSEEN_RATE)
    if (bound := output_bound(dialect, model_request)) is not None:
        made = min(made, bound)
    made *= model_request.choices
    if made <= reading.usage.output_tokens:
        return reading
    return Reading(msgspec.structs.replace(reading.usage, output_tokens=made), Certainty.ESTIMATED)
