"""What operators set on a route or an upstream, seen through a whole gate: pages in browsers, errors in the
shape of the API that was asked, limits that exempt a key, and the gate's own key at the backend."""

from pathlib import Path
from shutil import copy

import httpx
import pytest
from gates import ANSWER, answers, running
from servers import Peer, until
from stores import migrated_file

from llmgate.gate.build import open_gate

__all__ = ["migrated_file"]

PAGE = "https://chat.example.com"


@pytest.fixture
def store(migrated_file: Path, tmp_path: Path) -> Path:
    copy(migrated_file, tmp_path / "gate.db")
    return tmp_path / "gate.db"


async def test_a_page_of_a_named_origin_may_call_a_route_and_no_other(store: Path, tmp_path: Path) -> None:
    routes = [{"path": "/v1", "upstream": "vllm", "cors_origins": [PAGE]}]
    async with running(tmp_path, store, routes=routes) as gate, httpx.AsyncClient(trust_env=False) as http:
        url = f"{gate.url}/v1/chat/completions"
        asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        preflight = await http.options(url, headers={"origin": PAGE, **asks})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == PAGE
        assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
        assert (
            await http.options(url, headers={"origin": "https://evil.example", **asks})
        ).status_code == 400
        assert (await http.options(url)).status_code == 405
        assert (
            await http.options(f"{gate.url}/v1/nothing", headers={"origin": PAGE, **asks})
        ).status_code == 404
        key = {"authorization": f"Bearer {gate.key}", "origin": PAGE}
        good = await http.post(url, headers=key, json={"model": "small", "messages": []})
        assert (good.status_code, good.headers["access-control-allow-origin"]) == (200, PAGE)
        assert "x-gate-request-id" in good.headers["access-control-expose-headers"].lower()
        refused = await http.post(url, headers={"origin": PAGE}, json={})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


async def test_a_route_without_the_setting_has_no_preflights(store: Path, tmp_path: Path) -> None:
    async with running(tmp_path, store) as gate, httpx.AsyncClient(trust_env=False) as http:
        asks = {"access-control-request-method": "POST", "origin": PAGE}
        answer = await http.options(f"{gate.url}/v1/chat/completions", headers=asks)
        assert answer.status_code == 405


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_errors_of_anthropics_api_have_its_shape(store: Path, tmp_path: Path, path: str) -> None:
    async with running(tmp_path, store) as gate, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(gate.url + path, headers={"x-api-key": "sk-bad"}, json={})
        assert answer.status_code == 401
        said = answer.json()
        assert (said["type"], said["error"]["type"]) == ("error", "authentication_error")
        other = await http.post(f"{gate.url}/v1/chat/completions", headers={"x-api-key": "sk-bad"}, json={})
        assert other.json()["error"]["code"] == "invalid_api_key"


async def test_a_limit_can_exempt_a_key(store: Path, tmp_path: Path) -> None:
    """Of a monitor, or of the conformance run: the first key of a store has the id 1."""
    for exempt, status in (([1], 200), ([2], 429)):
        limits = [{"per": "gate", "requests": 1, "window": "day", "exempt_keys": exempt}]
        copied = copy(store, tmp_path / f"{status}.db")
        async with (
            running(tmp_path, copied, limits=limits) as gate,
            httpx.AsyncClient(trust_env=False) as http,
        ):
            ask = {"headers": {"authorization": f"Bearer {gate.key}"}, "json": {"model": "m", "messages": []}}
            statuses = [
                (await http.post(f"{gate.url}/v1/chat/completions", **ask)).status_code for _ in range(2)
            ]
        assert statuses == [200, status]


async def test_the_gates_key_and_headers_go_to_the_backend_in_place_of_the_callers(
    store: Path, tmp_path: Path
) -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        head, _ = await peer.request()
        heads.append(head.lower())
        await peer.answer(b"{}", headers=b"content-type: application/json\r\n")
        await answers(peer)

    settings = {"api_key": "sk-its-own", "api_key_header": "x-api-key", "headers": {"X-Team": "gate"}}
    async with (
        running(tmp_path, store, script, settings=settings) as gate,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        mine = {"authorization": f"Bearer {gate.key}", "x-team": "mine"}
        await http.post(f"{gate.url}/v1/chat/completions", headers=mine, json={"model": "m", "messages": []})
    [head] = heads
    assert b"x-api-key: sk-its-own" in head and b"x-team: gate" in head
    assert b"authorization" not in head and b"mine" not in head


async def test_a_key_that_the_backend_refuses_is_502_for_the_caller(store: Path, tmp_path: Path) -> None:
    """Not the backend's 401, which clients take for their own key's."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b'{"error":"Unauthorized"}', status=b"401 Unauthorized")

    async with (
        running(tmp_path, store, script, settings={"api_key": "sk-wrong"}) as gate,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        ask = {"headers": {"authorization": f"Bearer {gate.key}"}, "json": {"model": "m", "messages": []}}
        answer = await http.post(f"{gate.url}/v1/chat/completions", **ask)
        ready = await http.get(f"{gate.url}/readyz")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unauthorized")
    assert (ready.status_code, ready.json()["upstreams"]) == (503, {"vllm": "key refused"})


async def test_a_busy_replica_that_is_late_with_its_health_serves_and_a_reload_forgets_nothing(
    store: Path, tmp_path: Path
) -> None:
    """The cases busy-replica-late-with-health and reload-and-a-dead-replica, on one gate and its successor."""

    async def script(peer: Peer) -> None:
        while True:
            head, _ = await peer.request()
            if head.startswith(b"GET /health "):
                await peer.gone()
                return
            await peer.answer(ANSWER, headers=b"content-type: application/json\r\n")

    health = {"enabled": True, "interval": 0.01, "timeout": 0.05, "fall": 2}
    async with (
        running(tmp_path, store, script, settings={"health": health}) as gate,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        [replica] = gate.gate.services.upstreams["vllm"].replicas
        await until(lambda: not replica.healthy)
        ask = {"headers": {"authorization": f"Bearer {gate.key}"}, "json": {"model": "m", "messages": []}}
        answer = await http.post(f"{gate.url}/v1/chat/completions", **ask)
        ready = await http.get(f"{gate.url}/readyz")
        assert answer.status_code == 200
        assert (ready.status_code, ready.json()["upstreams"]) == (200, {"vllm": "degraded"})
        async with open_gate(gate.gate.config, gate.runtime) as again:
            assert again.services.upstreams["vllm"].replicas == [replica]
            assert not replica.healthy
