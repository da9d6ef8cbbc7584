"""What the server itself shows in the metrics: how late the event loop is, and what became of connections."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..observability.metrics import Instruments
    from .listener import Listener

INTERVAL_S = 0.5


class ServerMetrics:
    """Counts into `instruments` what `listeners`, asked each time, have to tell."""

    def __init__(self, instruments: Instruments, listeners: Callable[[], Iterable[Listener]]) -> None:
        self._instruments = instruments
        self._listeners = listeners
        self._counted: Counter[tuple[Listener, str]] = Counter()
        instruments.watch_connections(lambda: sum(each.open_connections for each in listeners()))

    async def run(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + INTERVAL_S
            await asyncio.sleep(INTERVAL_S)
            self.measure(lag=loop.time() - due)

    def measure(self, *, lag: float) -> None:
        """Note that the loop was `lag` seconds late, and what happened to connections since the last time."""
        self._instruments.loop_lag().observe(max(0.0, lag))
        counted: Counter[tuple[Listener, str]] = Counter()
        for listener in self._listeners():
            for reason, number in listener.ended.items():
                counted[listener, reason] = number
                self._instruments.connections_closed(reason).inc(number - self._counted[listener, reason])
        self._counted = counted
