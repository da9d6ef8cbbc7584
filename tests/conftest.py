"""What every test shares: asyncio as the one event loop library under anyio's plugin, and a real backend."""

import pytest
from hypothesis import settings
from real_backends import llama

__all__ = ["llama"]

settings.register_profile("untimed", deadline=None)  # a busy machine fails no test
settings.load_profile("untimed")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
