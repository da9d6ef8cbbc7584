"""The words of token accounting: how many tokens, and how sure the count is."""

from __future__ import annotations

from msgspec import Struct

from ..words import Words


class Certainty(Words):
    """How a usage record came by its numbers."""

    EXACT = "exact"
    """The backend reported them for the whole answer."""
    PARTIAL = "partial"
    """The answer was cut; these are the last numbers that the backend had reported."""
    ESTIMATED = "estimated"
    """The backend reported none; they follow from the bytes that went through."""


class Usage(Struct, frozen=True):
    """Tokens of one answer. `cached_tokens` are part of the input, `reasoning_tokens` part of the output."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total(self) -> int:
        """Input and output together: what a token quota is charged."""
        return self.input_tokens + self.output_tokens


class Reading(Struct, frozen=True):
    """What a meter has read of an answer."""

    usage: Usage
    certainty: Certainty
    engine_seconds: float | None = None
    """How long the engine worked, where it says so."""
