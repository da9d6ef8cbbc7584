"""Writing logs in a thread of its own: a reader that stands still, or a slow disk, costs lines and never a request."""

from __future__ import annotations

import logging
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

log = logging.getLogger("llmgate")

MAX_WAITING_BYTES = 8 * 1024 * 1024
"""What waits to be written; beyond it lines are dropped: some 20,000 requests."""
BATCH_BYTES = 64 * 1024
"""What is collected, at most, before it is written without being told to."""
PIPE_ATOMIC_BYTES = select.PIPE_BUF if hasattr(select, "PIPE_BUF") else 512
"""So much gets into a pipe in one piece: the lines of several workers do not mix (POSIX)."""


class LogWriter:
    """Takes whole lines and writes them to `out` by and by; `flush` says that it is time.

    `on_drop` is called for each line that finds no room among the `most` bytes that may wait. `name` is what the
    log is called where it cannot be written; without one, that is not said. Threads may share a writer.
    """

    def __init__(
        self,
        out: BinaryIO,
        *,
        name: str = "",
        most: int = MAX_WAITING_BYTES,
        on_drop: Callable[[], None] = lambda: None,
    ) -> None:
        self.on_drop = on_drop
        self.dropped = 0
        self._name = name
        self._most = most
        self._write, self._piece = _writing(out)
        self._lines: deque[bytes] = deque()
        self._taken = 0  # bytes, of all lines that were given
        self._done = 0  # those that are written or lost
        self._flushed = 0  # of `_taken` when the thread was last woken
        self._wake = threading.Event()
        self._closing = False
        self._failing = False
        self._thread: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        """Take a line with its end. Returns at once, whether there is room for it or not."""
        size = len(line)
        if self._taken - self._done + size > self._most:
            self.dropped += 1
            self.on_drop()
            return
        self._taken += size
        self._lines.append(line)
        if self._taken - self._flushed >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Have what was taken written now. Returns at once."""
        self._flushed = self._taken
        if self._lines:
            self._wake.set()
            if self._thread is None:
                # A daemon: it may be stuck in a write when the process is to end.
                self._thread = threading.Thread(target=self._run, name="llmgate-log", daemon=True)
                self._thread.start()

    def close(self, seconds: float = 1.0) -> None:
        """Have everything written, as far as the reader takes it within `seconds`."""
        self.flush()
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._lines:
                batch = self._batch()
                self._put(b"".join(batch))
                self._done += sum(map(len, batch))
            if self._closing and not self._wake.is_set():
                self._thread = None
                return

    def _batch(self) -> list[bytes]:
        """As many whole lines as go out in one piece; at least one."""
        batch = [self._lines.popleft()]
        size = len(batch[0])
        while self._lines and size + len(self._lines[0]) <= self._piece:
            batch.append(self._lines.popleft())
            size += len(batch[-1])
        return batch

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._write(view) :]
        except OSError as error:
            if self._name and not self._failing:
                log.warning("the %s cannot be written: %s", self._name, error)
            self._failing = True
        else:
            self._failing = False


def _writing(out: BinaryIO) -> tuple[Callable[[memoryview], int], int]:
    """How to write to `out`, past its buffer if it is a file: that would keep its lock while it waits."""
    descriptor = -1
    with suppress(OSError, AttributeError):
        descriptor = out.fileno()
    if descriptor < 0:

        def into_memory(data: memoryview) -> int:
            out.write(data)
            return len(data)

        return into_memory, BATCH_BYTES

    def into_file(data: memoryview) -> int:
        try:
            return os.write(descriptor, data)
        except BlockingIOError:  # somebody else has made it so, for whom it is the same terminal or pipe
            select.select([], [descriptor], [])
            return 0

    is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    return into_file, PIPE_ATOMIC_BYTES if is_pipe else BATCH_BYTES
