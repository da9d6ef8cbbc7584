"""Opens a gate for a test, and sees at its end that nothing was left behind and that it still serves."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from gates import ANSWER, Running, answers, running
from servers import connect
from stores import migrated_file

__all__ = ["migrated_file"]

OpenGate = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def open_gate(migrated_file: Path, tmp_path: Path) -> OpenGate:
    """`open_gate(script, **tables)`: see `gates.running`. The block ends with a look at what is left."""

    @asynccontextmanager
    async def opened(script: Any = answers, **how: Any) -> AsyncIterator[Running]:
        copy(migrated_file, tmp_path / "gate.db")
        async with running(tmp_path, tmp_path / "gate.db", script, **how) as gate:
            yield gate
            await gate.quiet()
            if script is answers and "connections" not in how:
                async with connect(gate.url) as client:
                    await client.send(gate.request())
                    assert (await client.response())[1] == ANSWER

    return opened
