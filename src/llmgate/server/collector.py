"""When the garbage collector looks at everything: not while a crowd of streams waits for its chunks.

A look at all objects stops the event loop for 0.4 us each: 48 ms with 1,000 streams, half a second with 10,000.
Requests leave no circles behind, so what is young is looked at as ever, in steps of a millisecond or two, and all of
it only when little is under way, or when memory has grown by more than what is under way explains.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import time
from collections.abc import Callable

log = logging.getLogger("llmgate")

THRESHOLDS = (5_000, 0, 1_000_000)
"""After so many new objects the young are looked at, every other time with those that stayed the last time; never, by
itself, all of them. By Python's own numbers it took 3 % of the time of plain requests."""
LOOK_EVERY_S = 10.0
FULL_EVERY_S = 60.0
"""Between two looks at everything while little is under way."""
QUIET = 50
"""Requests under way with which a look at everything takes a few milliseconds."""
REQUEST_BYTES = 64 * 1024
"""That a request under way may take: twice what a stream does."""
MAX_GROWTH_BYTES = 128 * 1024 * 1024
"""Of memory that nothing explains, after which everything is looked at whatever is under way."""


def peak_bytes() -> int:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Collector:
    """Looks for circles of objects as the module says; `in_flight` tells how many requests are under way."""

    def __init__(
        self,
        in_flight: Callable[[], int],
        *,
        memory: Callable[[], int] = peak_bytes,
        collect: Callable[[], object] = gc.collect,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._in_flight = in_flight
        self._memory = memory
        self._collect = collect
        self._clock = clock
        self._full_at = clock()
        self._bytes = memory()

    @staticmethod
    def begin() -> None:
        """What is there now stays: it need not be looked at again."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Look at everything, if it is time."""
        now, under_way = self._clock(), self._in_flight()
        grown = self._memory() - self._bytes - under_way * REQUEST_BYTES
        if grown <= MAX_GROWTH_BYTES and (under_way > QUIET or now - self._full_at < FULL_EVERY_S):
            return
        self._collect()
        self._full_at, self._bytes = self._clock(), self._memory()
        log.debug("collector: %.1f ms, %d requests under way", (self._full_at - now) * 1e3, under_way)
