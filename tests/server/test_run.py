"""The process around a gate: it listens, reloads without dropping a stream, and leaves in order."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copy

import httpx
import pytest
from servers import PATIENCE, Peer, ScriptedUpstream, connect
from stores import migrated_file

from llmgate.config import Address, load
from llmgate.gate.runtime import open_runtime
from llmgate.server.run import Process

__all__ = ["migrated_file"]

TOML = """
[gate]
listen = ["127.0.0.1:0"{more}]
access_log = false
shutdown_grace = {grace}
[store]
url = "sqlite:///gate.db"
[upstreams.vllm]
urls = ["{url}"]
health.enabled = false
[[routes]]
path = "{path}"
upstream = "vllm"
allow = ["*"]
authentication = "none"
"""
HERE = Address("127.0.0.1", 0)


class Serving:
    """A process that serves the gate.toml in `folder`, in front of an upstream that streams until told to stop."""

    def __init__(self, folder: Path, process: Process, url: str) -> None:
        self.file = folder / "gate.toml"
        self.process = process
        self.upstream = url

    def write(self, **how: object) -> None:
        values = {"more": "", "grace": 30, "url": self.upstream, "path": "/v1", **how}
        self.file.write_text(TOML.format(**values))

    def url(self, address: Address = HERE) -> str:
        return f"http://127.0.0.1:{self.process.ports[address]}"

    async def get(self, path: str, address: Address = HERE) -> int:
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.get(self.url(address) + path)).status_code


@pytest.fixture
def stream() -> tuple[asyncio.Event, Callable[[Peer], object]]:
    end = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.head()
            if b"/stream" not in head:
                await peer.answer(b"ok")
                continue
            await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            await peer.chunk(b"begun")
            await end.wait()
            await peer.chunk(b"ended")
            await peer.chunk(b"")

    return end, script


@pytest.fixture
async def serving(
    migrated_file: Path, tmp_path: Path, stream: tuple[asyncio.Event, Callable[[Peer], object]]
) -> AsyncIterator[Serving]:
    copy(migrated_file, tmp_path / "gate.db")
    async with ScriptedUpstream(stream[1]) as upstream, opened(tmp_path, upstream.url) as serving:
        yield serving
        stream[0].set()


@asynccontextmanager
async def opened(folder: Path, url: str) -> AsyncIterator[Serving]:
    serving = Serving(folder, None, url)  # type: ignore[arg-type]
    serving.write()
    config = load(serving.file)
    async with open_runtime(config) as runtime, Process(serving.file, runtime) as process:
        serving.process = process
        await process.start(config)
        yield serving


async def test_a_reload_changes_routes_and_drops_no_stream(
    serving: Serving, stream: tuple[asyncio.Event, object]
) -> None:
    async with connect(serving.url()) as client:
        await client.send(b"GET /v1/stream HTTP/1.1\r\nhost: a\r\n\r\n")
        await client.until(b"begun")
        serving.write(path="/v2")
        await serving.process.reload()
        assert (await serving.get("/v1/x"), await serving.get("/v2/x")) == (404, 200)
        stream[0].set()
        assert (await client.until(b"0\r\n\r\n")).endswith(b"ended\r\n0\r\n\r\n")


@pytest.mark.parametrize("bad", ["[gate", "[gate]\nlisten = 5\n", "[plugins.nobody_wrote_this]\n"])
async def test_a_bad_file_changes_nothing_and_says_why(
    serving: Serving, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = serving.process.gate
    serving.file.write_text(bad)
    await serving.process.reload()
    assert serving.process.gate is gate
    assert await serving.get("/v1/x") == 200
    assert "reload: the old gate stays" in caplog.text


async def test_an_address_that_is_taken_changes_nothing_either(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    port = serving.process.ports[HERE]
    serving.write(more=f', "127.0.0.1:{port}"', path="/v2")
    await serving.process.reload()
    assert await serving.get("/v1/x") == 200
    assert f"gate.listen: 127.0.0.1:{port}: Address already in use; stop what uses it" in caplog.text


async def test_a_reload_opens_and_closes_addresses(serving: Serving, tmp_path: Path) -> None:
    unix = Address(path=tmp_path / "gate.sock")
    serving.write(more=f', "unix:{unix.path}"')
    await serving.process.reload()
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(unix.path))) as http:
        assert (await http.get("http://gate/v1/x")).status_code == 200
    serving.write()
    await serving.process.reload()
    assert list(serving.process.ports) == [HERE]
    async with asyncio.timeout(PATIENCE):
        while unix.path is not None and unix.path.exists():  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.001)


async def test_what_needs_a_restart_is_named(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    serving.write()
    serving.file.write_text(serving.file.read_text().replace("gate.db", "other.db"))
    await serving.process.reload()
    assert "reload: still as before until a restart: store" in caplog.text


async def test_the_first_signal_lets_streams_finish(
    serving: Serving, stream: tuple[asyncio.Event, object]
) -> None:
    async with connect(serving.url()) as client:
        await client.send(b"GET /v1/stream HTTP/1.1\r\nhost: a\r\n\r\n")
        await client.until(b"begun")
        os.kill(os.getpid(), signal.SIGTERM)
        await serving.process.stopped()
        leaving = asyncio.create_task(serving.process.__aexit__(None, None, None))
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(OSError):
                    async with connect(f"http://127.0.0.1:{client.writer.get_extra_info('peername')[1]}"):
                        await asyncio.sleep(0.001)
                        continue
                break
        stream[0].set()
        assert (await client.rest()).endswith(b"ended\r\n0\r\n\r\n")
        await leaving


async def test_the_second_signal_does_not_wait(serving: Serving) -> None:
    async with connect(serving.url()) as client:
        await client.send(b"GET /v1/stream HTTP/1.1\r\nhost: a\r\n\r\n")
        await client.until(b"begun")
        os.kill(os.getpid(), signal.SIGINT)
        await serving.process.stopped()
        leaving = asyncio.create_task(serving.process.__aexit__(None, None, None))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)
        assert not (await client.rest()).endswith(b"0\r\n\r\n")
        await leaving
        assert serving.process.gate.in_flight == 0


async def test_sighup_reloads(serving: Serving) -> None:
    gate = serving.process.gate
    serving.write(path="/v2")
    os.kill(os.getpid(), signal.SIGHUP)
    async with asyncio.timeout(PATIENCE):
        while serving.process.gate is gate:  # noqa: ASYNC110 - a signal is answered by nobody
            await asyncio.sleep(0.001)
    assert await serving.get("/v2/x") == 200


async def test_a_reload_tells_what_is_not_meant(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """As the start does; with the line."""
    text = serving.file.read_text()
    serving.file.write_text(text + '[[quotas]]\nper = "user"\ntokens = 5\n')
    await serving.process.reload()
    line = text.count("\n") + 1
    assert f"reload: {serving.file}:{line}: quotas[0].window: not written" in caplog.text


async def test_too_few_descriptors_are_told_once(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """And once more where other numbers hold."""

    def told() -> int:
        return sum("file descriptors serve" in record.message for record in caplog.records)

    most = "\nmax_connections = 1000000\n"
    for _ in range(3):
        serving.write()
        serving.file.write_text(serving.file.read_text().replace("[gate]\n", f"[gate]{most}"))
        await serving.process.reload()
    assert told() == 1
    serving.file.write_text(serving.file.read_text().replace(most, most.replace("10", "9")))
    await serving.process.reload()
    assert told() == 2


async def test_stopping_says_nothing_of_connections_that_are_idle(
    migrated_file: Path,
    tmp_path: Path,
    stream: tuple[asyncio.Event, Callable[[Peer], object]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """uvicorn told them as errors: Cancel 0 running task(s). A request that is broken off is told."""
    copy(migrated_file, tmp_path / "gate.db")
    async with ScriptedUpstream(stream[1]) as upstream, opened(tmp_path, upstream.url) as serving:
        serving.write(grace=0)
        await serving.process.reload()
        async with connect(serving.url()) as idle, connect(serving.url()) as busy:
            await idle.send(b"GET /v1/x HTTP/1.1\r\nhost: a\r\n\r\n")
            await idle.until(b"ok")
            await busy.send(b"GET /v1/stream HTTP/1.1\r\nhost: a\r\n\r\n")
            await busy.until(b"begun")
            serving.process.stop()
            await serving.process.__aexit__(None, None, None)
        stream[0].set()
    assert "running task" not in caplog.text
    assert "1 requests were not over after 0 s" in caplog.text
