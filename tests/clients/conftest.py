"""A gate in front of a backend that knows what clients want, and what one client of it is told."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from gates import Running, running
from stores import migrated_file

from clients.backend import DynamicUpstream

__all__ = ["migrated_file"]

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@dataclass
class Side:
    """What a client talks to."""

    gate: Running
    backend: DynamicUpstream

    @property
    def url(self) -> str:
        """The base URL for clients of OpenAI's API."""
        return f"{self.gate.url}/v1"

    @property
    def key(self) -> str:
        return self.gate.key

    @property
    def requests(self) -> int:
        """How many requests the gate has answered: what a client has tried, retries included."""
        registry = self.gate.runtime.instruments.registry
        samples = (sample for metric in registry.collect() for sample in metric.samples)
        return int(sum(sample.value for sample in samples if sample.name == "llmgate_requests_total"))

    async def charged(self) -> list[tuple[str, int, int, str]]:
        """The usage records: outcome, tokens in and out, certainty."""
        await self.gate.quiet()
        return await self.gate.records()


OpenSide = Callable[..., AbstractAsyncContextManager[Side]]
FINISHED = ("finished", 5, 7, "exact")


@pytest.fixture
def open_side(migrated_file: Path, tmp_path: Path) -> OpenSide:
    """`open_side(Backend(...), **tables)`: a gate in front of it; `tables` are laid over its gate.toml."""

    @asynccontextmanager
    async def opened(backend: DynamicUpstream, **tables: Any) -> AsyncIterator[Side]:
        store = Path(copy(migrated_file, tmp_path / "gate.db"))
        async with running(tmp_path, store, backend.script, **tables) as gate:
            yield Side(gate, backend)

    return opened


@pytest.fixture
async def side(open_side: OpenSide) -> AsyncIterator[Side]:
    """A gate in front of a backend that is well."""
    async with open_side(DynamicUpstream()) as opened:
        yield opened
