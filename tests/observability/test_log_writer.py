"""A log that its reader keeps waiting: the lines wait or are lost, and nobody else does."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from llmgate.observability.log_writer import PIPE_ATOMIC_BYTES, LogWriter

Pipe = tuple[BinaryIO, BinaryIO]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as read, os.fdopen(writer, "wb") as write:
        yield read, write


def test_what_is_taken_is_written_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as out:
        log = LogWriter(out)
        for number in range(10_000):
            log.write(b"%d\n" % number)
        log.close()
    assert path.read_bytes() == b"".join(b"%d\n" % number for number in range(10_000))


def test_a_reader_that_stands_still_costs_lines_and_they_are_counted(pipe: Pipe) -> None:
    read, write = pipe
    dropped: list[int] = []
    log = LogWriter(write, most=200_000, on_drop=lambda: dropped.append(1))
    line = b"x" * 999 + b"\n"
    for _ in range(1000):  # a pipe takes 64 kB
        log.write(line)
    log.flush()
    log.close(0.01)  # and at the end nobody waits for long
    assert log.dropped == len(dropped) >= 700
    written = 1000 - log.dropped
    assert len(read.read(written * 1000)) == written * 1000


def test_lines_go_into_a_pipe_unbroken_so_that_those_of_workers_do_not_mix(pipe: Pipe) -> None:
    read, write = pipe
    log = LogWriter(write)
    for size in (1000, 3000, 200, PIPE_ATOMIC_BYTES, 10):
        log.write(b"x" * (size - 1) + b"\n")
    assert [len(line) for line in log._batch()] == [1000, 3000]
    assert [len(line) for line in log._batch()] == [200]
    assert [len(line) for line in log._batch()] == [PIPE_ATOMIC_BYTES]
    log.close()
    assert len(os.read(read.fileno(), 65_536)) == 10


def test_a_pipe_that_somebody_has_made_non_blocking_is_waited_for(pipe: Pipe) -> None:
    read, write = pipe
    os.set_blocking(write.fileno(), False)
    log = LogWriter(write)
    for _ in range(200):
        log.write(b"x" * 999 + b"\n")
    log.flush()
    assert len(read.read(200_000)) == 200_000
    log.close()


def test_what_cannot_be_written_is_said_once_by_the_name_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    log = LogWriter(Full(), name="access log")
    for _ in range(3):
        log.write(b"x" * 70_000)
        log.flush()
    log.close()
    assert [record.message for record in caplog.records] == [
        "the access log cannot be written: [Errno 28] No space left on device"
    ]
