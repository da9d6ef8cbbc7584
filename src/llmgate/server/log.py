"""Where the gate's own messages go."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from ..errors import ConfigError
from ..observability.log_writer import LogWriter

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class BackgroundHandler(logging.Handler):
    """Hands messages to `writer`, which waits for their reader in the place of whoever has something to say."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self.writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        try:
            self.writer.write(self.format(record).encode(errors="backslashreplace") + b"\n")
            self.writer.flush()
        except Exception:  # what handlers do with a message that cannot be formatted
            self.handleError(record)

    def close(self) -> None:
        """See `logging.Handler`."""
        self.writer.close()
        super().close()


LOG_LEVEL = "LLMGATE_LOG_LEVEL"
"""Names the least level of the gate's own messages in the environment, which workers inherit."""
LEVELS = ("debug", "info", "warning", "error")


def log_to_stderr() -> None:
    """What the gate reports goes to stderr, of its libraries only warnings; stdout has the access log."""
    level = os.environ.get(LOG_LEVEL, "info").lower()
    if level not in LEVELS:
        raise ConfigError([f"{LOG_LEVEL}: expected {', '.join(LEVELS)}, found {level!r}"])
    handler = BackgroundHandler(LogWriter(sys.stderr.buffer))
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT, handlers=[handler])
    logging.getLogger("llmgate").setLevel(level.upper())


def say(line: str) -> None:
    """Write a line to stderr as it is, among the gate's messages; waits for no reader, and needs no room on a disk."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, BackgroundHandler):
            handler.writer.write(line.encode(errors="backslashreplace") + b"\n")
            handler.writer.flush()


def count_dropped(on_drop: Callable[[], None]) -> None:
    """Have `on_drop` called for each message that is dropped, from now on."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, BackgroundHandler):
            handler.writer.on_drop = on_drop
