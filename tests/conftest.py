"""What every test shares: asyncio as the one event loop library under anyio's plugin, and a real backend."""

import pytest
from real_backends import llama

__all__ = ["llama"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
