"""The words of token accounting: how many tokens, how sure the count is, and who counts."""

from __future__ import annotations

from typing import Protocol

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


class Meter(Protocol):
    """Sees an answer's bytes pass and knows in the end what they used. Sans-IO; one for each request.

    `streams`: the answer is a stream, whose pieces go out as they come; of an answer without a label that is
    known once its first bytes are. `strips`: it may get shorter on the way. `finished`: what `feed` gave back
    has told the client that nothing more is to come.
    """

    @property
    def strips(self) -> bool:
        """See above."""

    @property
    def streams(self) -> bool:
        """See above."""

    @property
    def finished(self) -> bool:
        """See above."""

    @property
    def failed(self) -> bool:
        """Whether the backend has said that it gave up, under a status that says otherwise."""

    @property
    def awaits_usage(self) -> bool:
        """Whether what was used so far will be known only from what is still to come.

        If it is not so before the first piece, it never is.
        """

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
