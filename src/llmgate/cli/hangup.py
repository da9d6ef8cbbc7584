"""SIGHUP before the gate listens: it ended the process, and means that gate.toml is to be read again."""

from __future__ import annotations

import os
import signal
from types import FrameType


class EarlyHangup:
    """Takes SIGHUP from now on, until whoever serves takes it over; `pass_on` then sends what came before."""

    def __init__(self) -> None:
        self._came = False
        signal.signal(signal.SIGHUP, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._came = True

    def pass_on(self) -> None:
        """The gate listens, and obeys it by itself now."""
        if self._came:
            self._came = False
            os.kill(os.getpid(), signal.SIGHUP)
