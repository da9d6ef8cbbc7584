"""What every test shares: asyncio as the one event loop library under anyio's plugin."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
