"""The gate's own messages: on stderr, and never in anybody's way."""

import io
import logging

from llmgate.observability.log_writer import LogWriter
from llmgate.server.log import BackgroundHandler, count_dropped


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("llmgate", logging.INFO, __file__, 1, message, (), None)


def test_messages_are_written_as_they_come() -> None:
    out = io.BytesIO()
    handler = BackgroundHandler(LogWriter(out))
    handler.emit(record("good"))
    handler.emit(record("caf\u00e9 \ud800"))
    handler.close()
    assert out.getvalue() == "good\ncaf\u00e9 \\ud800\n".encode()


def test_what_is_dropped_is_counted() -> None:
    dropped: list[int] = []
    handler = BackgroundHandler(LogWriter(io.BytesIO(), most=0))
    logging.getLogger().addHandler(handler)
    try:
        count_dropped(lambda: dropped.append(1))
        handler.emit(record("nobody reads this"))
    finally:
        logging.getLogger().removeHandler(handler)
    assert dropped == [1]
