"""Whether the store that limits are counted in answers: what it does silently, nobody mends."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("llmgate.ratelimit")

REPEAT_EVERY_S = 60.0
"""Seconds between two log lines while it stays away."""


class Availability:
    """Kept up to date by whoever asks the store; read by readiness and metrics."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.failing: str | None = None
        """Why it does not answer; None while it does."""
        self._clock = clock
        self._said_at = 0.0

    def failed(self, why: str) -> None:
        """It did not answer: an error in the log, once a minute while it lasts."""
        now = self._clock()
        if self.failing is None or now >= self._said_at + REPEAT_EVERY_S:
            self._said_at = now
            log.error("rate limits cannot be counted: %s", why)
        self.failing = why

    def answered(self) -> None:
        """It did."""
        if self.failing is not None:
            self.failing = None
            log.warning("rate limits are counted again")
