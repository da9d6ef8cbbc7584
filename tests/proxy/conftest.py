"""The data path runs on uvloop where it is installed and on asyncio's own loop elsewhere: test both."""

from collections.abc import AsyncIterator

import pytest

from llmgate.proxy.engines.base import Engine
from llmgate.proxy.engines.httptools_engine import HttptoolsEngine
from llmgate.proxy.engines.httpx_engine import HttpxEngine


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(params=[HttptoolsEngine, HttpxEngine])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """Each engine by turns."""
    engine = request.param()
    yield engine
    await engine.aclose()
