"""What outlives a reload: opened once, closed at the end."""

from pathlib import Path
from shutil import copy
from typing import Any

import httpx
import pytest
from playbook import Answers
from stores import Clock, migrated_file

from llmgate.config import Config, from_document
from llmgate.errors import StoreError
from llmgate.gate.runtime import open_runtime
from llmgate.proxy.asgi_upstream import ORIGIN
from llmgate.ratelimit.memory import MemoryStorage

__all__ = ["migrated_file"]


def config_of(folder: Path, **tables: Any) -> Config:
    document = {
        "store": {"url": f"sqlite:///{folder / 'gate.db'}"},
        "upstreams": {"u": {"urls": ["http://a"]}},
        "routes": [{"path": "/v1", "upstream": "u"}],
        **tables,
    }
    return from_document(document, file=folder / "gate.toml", environ={})


async def test_everything_stands_on_one_clock_and_is_closed_at_the_end(
    migrated_file: Path, tmp_path: Path
) -> None:
    copy(migrated_file, tmp_path / "gate.db")
    clock = Clock()
    async with open_runtime(config_of(tmp_path), clock=clock) as runtime:
        assert runtime.store.clock is clock
        assert isinstance(runtime.limits.windows, MemoryStorage)
        assert runtime.inner is None
        assert runtime.bodies.total == 0


async def test_a_store_that_is_not_migrated_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="llmgate migrate"):
        async with open_runtime(config_of(tmp_path)):
            pass


async def test_the_app_inside_is_asked_without_a_socket(migrated_file: Path, tmp_path: Path) -> None:
    copy(migrated_file, tmp_path / "gate.db")
    app = Answers(b"inside")
    async with open_runtime(config_of(tmp_path), inner=app) as runtime:
        assert (await runtime.http.get(f"{ORIGIN}/health")).content == b"inside"
        with pytest.raises(httpx.ConnectError):
            await runtime.http.get("http://127.0.0.1:1/")


async def test_workers_of_a_host_count_in_one_folder(migrated_file: Path, tmp_path: Path) -> None:
    copy(migrated_file, tmp_path / "gate.db")
    counters = tmp_path / "counters"
    counters.mkdir()
    async with open_runtime(config_of(tmp_path), counters=counters) as runtime:
        runtime.instruments.log_dropped("access").inc()
        assert len(list(counters.iterdir())) == 1
