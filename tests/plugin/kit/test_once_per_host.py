"""What one process of a host does for all of them."""

import asyncio
from pathlib import Path

from servers import until

from llmgate.plugin.kit.once_per_host import once_per_host


async def test_one_of_several_works_and_the_next_takes_over(tmp_path: Path) -> None:
    lock, working = tmp_path / "locks" / "one", list[str]()

    def work_of(name: str) -> object:
        async def work() -> None:
            working.append(name)
            try:
                await asyncio.Event().wait()
            finally:
                working.remove(name)

        return work

    async with once_per_host(lock, work_of("a")):  # type: ignore[arg-type]
        await until(lambda: working == ["a"])
        async with once_per_host(lock, work_of("b")):  # type: ignore[arg-type]
            await asyncio.sleep(0)
            assert working == ["a"]
    assert working == []
    async with once_per_host(lock, work_of("c")):  # type: ignore[arg-type]
        await until(lambda: working == ["c"])


async def test_a_round_that_fails_does_not_end_all(tmp_path: Path) -> None:
    rounds = 0

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise RuntimeError("once")
        await asyncio.Event().wait()

    async with once_per_host(tmp_path / "lock", work):
        await until(lambda: rounds == 2)
