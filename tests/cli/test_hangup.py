"""SIGHUP that comes before the gate listens."""

import os
import signal
from collections.abc import Iterator

import pytest

from llmgate.cli.hangup import EarlyHangup


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def hang_up() -> None:
    os.kill(os.getpid(), signal.SIGHUP)


def test_one_that_came_is_passed_on_once_to_whoever_obeys_it() -> None:
    early = EarlyHangup()
    hang_up()
    hang_up()
    came: list[int] = []
    signal.signal(signal.SIGHUP, lambda number, _: came.append(number))
    early.pass_on()
    early.pass_on()
    assert came == [signal.SIGHUP]


def test_where_none_came_none_is_sent() -> None:
    early = EarlyHangup()
    came: list[int] = []
    signal.signal(signal.SIGHUP, lambda number, _: came.append(number))
    early.pass_on()
    assert came == []
