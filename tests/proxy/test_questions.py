"""What the gate asks of a backend itself, over the engines that also relay."""

import pytest
from servers import Peer, ScriptedUpstream, refused_url

from llmgate.proxy import questions
from llmgate.proxy.engines.base import (
    ConnectFailed,
    Engine,
    FirstByteTimedOut,
    IdleTimedOut,
    Origin,
    UpstreamBroke,
    UpstreamError,
)
from llmgate.proxy.questions import Answer, ask

TIMEOUT_S = 5.0


async def test_it_is_asked_below_the_replicas_path_and_with_the_headers_given(engine: Engine) -> None:
    seen = []

    async def script(peer: Peer) -> None:
        for _ in range(2):
            seen.append(await peer.request())
            await peer.answer(b"[]")

    async with ScriptedUpstream(script) as server:
        origin = Origin.parse(f"{server.url}/base")
        for body in (None, b"{}"):
            answer = await ask(engine, origin, "/v1/models", {b"x-key": b"k"}, timeout=TIMEOUT_S, body=body)
            assert answer == Answer(200, b"[]")
    (got, empty), (posted, document) = seen
    assert got.startswith(b"GET /base/v1/models HTTP/1.1\r\n")
    assert posted.startswith(b"POST /base/v1/models HTTP/1.1\r\n")
    assert (empty, document) == (b"", b"{}")
    assert b"content-type: application/json" in posted.lower()
    for head in (got, posted):
        assert b"x-key: k" in head.lower()
        assert b"accept-encoding: identity" in head.lower(), "no answer has to be unpacked"


@pytest.mark.parametrize("status", [b"302 Found", b"404 Not Found", b"503 Unavailable"])
async def test_any_status_is_an_answer_and_only_2xx_has_a_body(engine: Engine, status: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"x", status=status, headers=b"location: /elsewhere\r\n")

    async with ScriptedUpstream(script) as server:
        answer = await ask(engine, Origin.parse(server.url), "/health", {}, timeout=TIMEOUT_S)
        assert server.connections == 1, "no redirect is followed"
    assert (answer.status, answer.is_success) == (int(status[:3]), False)
    with pytest.raises(ValueError, match=str(answer.status)):
        answer.body()


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", FirstByteTimedOut),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", IdleTimedOut),
    ],
)
async def test_who_is_late_is_not_waited_for(engine: Engine, sent: bytes, error: type[UpstreamError]) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent)
        await peer.gone()

    async with ScriptedUpstream(script) as server:
        with pytest.raises(error):
            await ask(engine, Origin.parse(server.url), "/health", {}, timeout=0.05)


async def test_who_is_not_there_is_an_error(engine: Engine) -> None:
    with pytest.raises(ConnectFailed):
        await ask(engine, Origin.parse(await refused_url()), "/health", {}, timeout=TIMEOUT_S)


async def test_an_answer_without_an_end_is_broken_off(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "MAX_ANSWER_BYTES", 8)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n0123456789")
        await peer.gone()

    async with ScriptedUpstream(script) as server:
        with pytest.raises(UpstreamBroke, match="over 8 bytes"):
            await ask(engine, Origin.parse(server.url), "/metrics", {}, timeout=TIMEOUT_S)
