"""The gate's own messages: on stderr, and never in anybody's way."""

import io
import logging
from pathlib import Path

from llmgate.observability.log_writer import LogWriter
from llmgate.server.log import BackgroundHandler, count_dropped, say


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


def test_a_line_is_said_as_it_is() -> None:
    out = io.BytesIO()
    handler = BackgroundHandler(LogWriter(out))
    logging.getLogger().addHandler(handler)
    try:
        say("llmgate listens on 127.0.0.1:8000")
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    assert out.getvalue() == b"llmgate listens on 127.0.0.1:8000\n"


def test_nothing_that_is_said_needs_a_disk_with_room() -> None:
    with Path("/dev/full").open("wb") as full:
        handler = BackgroundHandler(LogWriter(full))
        logging.getLogger().addHandler(handler)
        try:
            say("llmgate listens on 127.0.0.1:8000")
        finally:
            logging.getLogger().removeHandler(handler)
            handler.close()
