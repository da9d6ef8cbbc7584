"""Work beside the requests, by a clock of the test's own."""

import asyncio

import pytest

from llmgate.background import repeat, running


class Pauses:
    """A `sleep` that notes how long it was asked for, and goes on `rounds` times."""

    def __init__(self, rounds: int) -> None:
        self.asked: list[float] = []
        self.over = asyncio.Event()
        self._rounds = rounds

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        if len(self.asked) > self._rounds:
            self.over.set()
            await asyncio.Event().wait()


async def test_work_runs_beside_the_block_and_ends_with_it() -> None:
    begun, ended = asyncio.Event(), []

    async def work(number: int) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    async with running(work(1), work(2), name="mine"):
        await begun.wait()
        assert [task.get_name() for task in asyncio.all_tasks()].count("mine") == 2
        assert ended == []
    assert sorted(ended) == [1, 2]


async def test_a_task_that_fails_does_not_spoil_how_the_block_ends() -> None:
    async def fails() -> None:
        raise RuntimeError("bug")

    async with running(fails()):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("at_once", "done"), [(True, 3), (False, 2)])
async def test_it_is_done_again_and_again(at_once: bool, done: int) -> None:
    """At once and after each pause, or after each pause alone; how long that is may be asked each time."""
    pauses, rounds = Pauses(2), []

    async def work() -> None:
        rounds.append(1)

    async with running(repeat(work, lambda: 5.0 + len(rounds), at_once=at_once, sleep=pauses)):
        await pauses.over.wait()
    assert len(rounds) == done
    assert pauses.asked == ([6.0, 7.0, 8.0] if at_once else [5.0, 6.0, 7.0])


async def test_an_error_that_is_foreseen_is_told_and_any_other_ends_it() -> None:
    pauses, told = Pauses(9), []
    errors = iter([KeyError("a"), IndexError("b"), OSError("c")])

    async def work() -> None:
        raise next(errors)

    with pytest.raises(OSError, match="c"):
        await repeat(work, 1.0, failed={LookupError: told.append}, sleep=pauses)
    assert [type(error) for error in told] == [KeyError, IndexError]
