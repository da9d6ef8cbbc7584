"""Upstreams while a gate is open."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from servers import Peer, ScriptedUpstream, until
from stores import migrated_file

from llmgate.config import Config, from_document
from llmgate.errors import ConfigError
from llmgate.gate.open_upstreams import check_inner, open_upstreams, watch_upstreams
from llmgate.gate.runtime import Runtime, open_runtime
from llmgate.proxy.engines.httptools_engine import HttptoolsEngine
from llmgate.proxy.engines.httpx_engine import HttpxEngine

__all__ = ["migrated_file"]


def config_of(folder: Path, **upstreams: Any) -> Config:
    document = {
        "store": {"url": f"sqlite:///{folder / 'gate.db'}"},
        "upstreams": upstreams,
        "routes": [{"path": f"/{name}", "upstream": name} for name in upstreams],
    }
    return from_document(document, file=folder / "gate.toml", environ={})


@pytest.fixture
async def runtime(migrated_file: Path, tmp_path: Path) -> AsyncIterator[Runtime]:
    copy(migrated_file, tmp_path / "gate.db")
    async with open_runtime(config_of(tmp_path, u={"urls": ["http://a"]})) as runtime:
        yield runtime


async def test_upstreams_of_one_kind_share_an_engine(runtime: Runtime, tmp_path: Path) -> None:
    """A proxy, or certificates of its own, make another one."""
    urls = {"urls": ["http://a"]}
    slow = {"engine": "httpx", "proxy": "http://proxy:3128", **urls}
    config = config_of(tmp_path, one=urls, two=urls, three=slow)
    async with AsyncExitStack() as stack:
        opened = await open_upstreams(config, runtime, stack)
        one, two, three = (opened[name] for name in ("one", "two", "three"))
        assert one._engine is two._engine
        assert isinstance(one._engine, HttptoolsEngine)
        assert isinstance(three._engine, HttpxEngine)


async def test_who_is_watched_is_asked_how_it_is_and_what_it_serves(runtime: Runtime, tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def backend(peer: Peer) -> None:
        while True:
            head, _ = await peer.request()
            asked.append(head.split(b" ")[1])
            await peer.answer(b'{"data":[{"id":"small"}]}', headers=b"content-type: application/json\r\n")

    async with ScriptedUpstream(backend) as server, AsyncExitStack() as stack:
        config = config_of(tmp_path, u={"urls": [server.url], "dialect": "vllm"})
        opened = await open_upstreams(config, runtime, stack)
        await watch_upstreams(config, opened, stack)
        await until(lambda: "small" in opened["u"].model_names)
        await until(lambda: {b"/health", b"/v1/models"} <= {*asked})


async def test_who_was_out_and_is_asked_no_more_is_back_in(runtime: Runtime, tmp_path: Path) -> None:
    """Nobody would bring it back: a reload that turns health checks off."""
    config = config_of(tmp_path, u={"urls": ["http://a"], "health": {"enabled": False}, "list_models": False})
    async with AsyncExitStack() as stack:
        opened = await open_upstreams(config, runtime, stack)
        [replica] = opened["u"].replicas
        replica.take_out(late=False)
        await watch_upstreams(config, opened, stack)
        assert replica.healthy


async def test_the_app_inside_has_to_be_there(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'upstreams\.u\.urls: "app:" is the app'):
        check_inner(config_of(tmp_path, u={"urls": ["app:"]}), runtime)
    check_inner(config_of(tmp_path, u={"urls": ["http://a"]}), runtime)
