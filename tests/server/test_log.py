"""The gate's own messages: on stderr, and never in anybody's way."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmgate.observability.log_writer import LogWriter
from llmgate.server.log import BackgroundHandler, count_dropped, say


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("llmgate", logging.INFO, __file__, 1, message, (), None)


@contextmanager
def handling(writer: LogWriter) -> Iterator[BackgroundHandler]:
    """A handler of the root logger that writes by `writer`; closed at the end."""
    handler = BackgroundHandler(writer)
    logging.getLogger().addHandler(handler)
    try:
        yield handler
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def test_messages_are_written_as_they_come() -> None:
    out = io.BytesIO()
    handler = BackgroundHandler(LogWriter(out))
    handler.emit(record("good"))
    handler.emit(record("caf\u00e9 \ud800"))
    handler.close()
    assert out.getvalue() == "good\ncaf\u00e9 \\ud800\n".encode()


def test_what_is_dropped_is_counted() -> None:
    dropped: list[int] = []
    with handling(LogWriter(io.BytesIO(), most=0)) as handler:
        count_dropped(lambda: dropped.append(1))
        handler.emit(record("nobody reads this"))
    assert dropped == [1]


def test_a_line_is_said_as_it_is() -> None:
    out = io.BytesIO()
    with handling(LogWriter(out)):
        say("llmgate listens on 127.0.0.1:8000")
    assert out.getvalue() == b"llmgate listens on 127.0.0.1:8000\n"


def test_nothing_that_is_said_needs_a_disk_with_room() -> None:
    with Path("/dev/full").open("wb") as full, handling(LogWriter(full)):
        say("llmgate listens on 127.0.0.1:8000")
