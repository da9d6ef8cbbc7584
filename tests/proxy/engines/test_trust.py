"""Whose certificates an upstream may have: the system's authorities, and one's own beside them."""

import asyncio
import ssl
from pathlib import Path

import pytest
from server.certificates import Authority
from servers import PATIENCE, Peer

from llmgate.errors import ConfigError
from llmgate.proxy.engines.base import ConnectFailed, Engine, Origin, Timeouts, UpstreamRequest
from llmgate.proxy.engines.httptools_engine import HttptoolsEngine
from llmgate.proxy.engines.httpx_engine import HttpxEngine
from llmgate.proxy.engines.trust import trusting

from .test_base import whole


@pytest.mark.parametrize("make", [HttptoolsEngine, HttpxEngine])
async def test_an_authority_of_ones_own_is_trusted_where_it_is_named(
    make: type[Engine], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("vllm")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        await peer.request()
        await peer.answer(b"ok")
        await peer.gone()

    server = await asyncio.start_server(answers, "127.0.0.1", 0, ssl=context)
    origin = Origin.parse(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    request, limits = UpstreamRequest("GET", b"/", []), Timeouts(PATIENCE, PATIENCE, PATIENCE)
    trusts, does_not = make(ca_file=authority.certificate), make()  # type: ignore[call-arg]
    try:
        assert await whole(await trusts.send(origin, request, limits)) == b"ok"
        with pytest.raises(ConnectFailed):
            await does_not.send(origin, request, limits)
    finally:
        await trusts.aclose()
        await does_not.aclose()
        server.close()


def test_a_file_of_no_use_is_said(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    with pytest.raises(ConfigError, match=r"ca_file: .*empty.pem: no certificates in PEM"):
        trusting(empty)
    with pytest.raises(ConfigError, match=r"ca_file: .*absent: No such file"):
        trusting(tmp_path / "absent")
