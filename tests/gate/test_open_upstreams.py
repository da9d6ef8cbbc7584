"""Upstreams behind an own authority and a forward proxy, with a key that is no bearer: all that is asked of them."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from gates import Running, running
from server.certificates import Authority
from servers import Peer, connect
from stores import migrated_file, sqlite_url

from llmgate.cli.check import Findings
from llmgate.cli.live import check_upstreams
from llmgate.observability.reconcile import Tokens, compare

__all__ = ["migrated_file", "sqlite_url"]

KEY, TEAM = "its-own-secret-key", "team-of-the-gate"
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


@dataclass
class Backend:
    """A server of models behind TLS, which wants its key as x-api-key and a header besides."""

    seen: list[bytes] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)
    answered: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        peer = Peer(reader, writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head, _ = await peer.request()
                path = head.split(b" ")[1]
                if f"x-api-key: {KEY}\r\n".encode() not in head.lower() or TEAM.encode() not in head:
                    self.refused.append(path)
                    await peer.answer(b"{}", status=b"401 Unauthorized")
                    continue
                self.seen.append(path)
                await peer.answer(self._body(path), headers=b"content-type: application/json\r\n")
        writer.close()

    def _body(self, path: bytes) -> bytes:
        if path == b"/metrics":
            made = f"{11 * self.answered}\nvllm:generation_tokens_total {7 * self.answered}\n"
            return f"vllm:prompt_tokens_total {made}".encode()
        if path == b"/v1/models":
            return b'{"data":[{"id":"m"}]}'
        self.answered += path == b"/v1/chat/completions"
        return json.dumps({"choices": [], "usage": USAGE}).encode()


@dataclass
class ForwardProxy:
    """Tunnels whatever it is asked for (RFC 9110 9.3.6), and remembers who asked and where to."""

    asked: list[tuple[str, bytes]] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        assert method == "CONNECT"
        self.asked.append((target, head))
        host, _, port = target.partition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        self.writers.append(far_writer)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


@dataclass
class Setting:
    backend: Backend
    proxy: ForwardProxy
    origin: str
    settings: dict[str, Any]


@asynccontextmanager
async def standing(folder: Path, *, by_proxy: bool) -> AsyncIterator[Setting]:
    authority = Authority(folder)
    pair = authority.issue("vllm")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    backend, proxy = Backend(), ForwardProxy()
    far = await asyncio.start_server(backend, "127.0.0.1", 0, ssl=context)
    near = await asyncio.start_server(proxy, "127.0.0.1", 0)
    origin = f"127.0.0.1:{far.sockets[0].getsockname()[1]}"
    settings: dict[str, Any] = {
        "urls": [f"https://{origin}"],
        "ca_file": str(authority.certificate),
        "api_key": KEY,
        "api_key_header": "x-api-key",
        "headers": {"x-team": TEAM},
        "health": {"enabled": True, "interval": 0.05},
        "list_models": True,
    }
    if by_proxy:
        port = near.sockets[0].getsockname()[1]
        settings |= {"engine": "httpx", "proxy": f"http://gate:pass@127.0.0.1:{port}"}
    try:
        yield Setting(backend, proxy, origin, settings)
    finally:
        far.close()
        near.close()
        for writer in (*backend.writers, *proxy.writers):
            writer.transport.abort()
        await asyncio.sleep(0)  # they close with the next turn of the event loop


async def ask(served: Running) -> bytes:
    async with connect(served.url) as client:
        body = b'{"model":"m","max_tokens":9,"messages":[]}'
        await client.send(served.request(body))
        head, _ = await client.response()
    return head


@pytest.mark.parametrize("by_proxy", [False, True])
async def test_all_that_is_asked_of_an_upstream_goes_its_way_with_its_key(
    tmp_path: Path, sqlite_url: str, by_proxy: bool
) -> None:
    """Requests, probes and lists of the gate; `check --live`; `reconcile`."""
    store = Path(sqlite_url.removeprefix("sqlite:///"))
    async with (
        standing(tmp_path, by_proxy=by_proxy) as at,
        running(tmp_path, store, settings=at.settings) as served,
    ):
        assert (await ask(served)).startswith(b"HTTP/1.1 200")
        assert served.upstream.connections == 0
        upstream, config = served.gate.services.upstreams["vllm"], served.gate.config
        findings = Findings()
        await check_upstreams(config, [upstream], findings)
        assert findings.problems == [] and len(findings.good) >= 1

        async def use(_: float) -> None:
            if at.backend.answered == 1:
                await ask(served)

        reports = served.gate.services.reports
        found = await compare(upstream, reports, window=1, sleep=use)
        assert (found.backend, found.drift) == (Tokens(11, 7), Tokens(0, 0))
        assert at.backend.refused == []
        assert {b"/v1/chat/completions", b"/v1/models", b"/health", b"/metrics"} <= {*at.backend.seen}
        if by_proxy:
            assert {target for target, _ in at.proxy.asked} == {at.origin}
            password = base64.b64encode(b"gate:pass")
            assert all(password in head for _, head in at.proxy.asked)
            assert all(KEY.encode() not in head for _, head in at.proxy.asked)


async def test_without_the_authority_nothing_is_trusted(tmp_path: Path, sqlite_url: str) -> None:
    store = Path(sqlite_url.removeprefix("sqlite:///"))
    async with standing(tmp_path, by_proxy=False) as at:
        settings = {**at.settings, "ca_file": None, "health": {"enabled": False}}
        async with running(tmp_path, store, settings=settings) as served:
            assert (await ask(served)).startswith(b"HTTP/1.1 502")
            findings = Findings()
            upstreams = served.gate.services.upstreams.values()
            await check_upstreams(served.gate.config, upstreams, findings)
            assert any("certificate" in line for line in findings.problems), findings.problems
        assert at.backend.seen == []
