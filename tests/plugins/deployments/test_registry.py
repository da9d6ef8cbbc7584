"""Deployments by name and address: which may be written, and asked."""

import asyncio
from typing import Any

import httpx
import pytest
from servers import Peer, ScriptedUpstream, serve
from starlette.types import Receive, Scope, Send

from llmgate_deployments.registry import Deployment, deployment_of, url_of
from plugins.conftest import OpenGate

from .conftest import ADA, API, GUIDES_DEPLOYMENT, HELLO, Ollama, OpenBku, add, log_in


async def test_of_deployments_created_at_once_under_one_name_one_is(
    http: httpx.AsyncClient, admin: dict[str, str], ollama: Ollama
) -> None:
    """The others learn that the name is taken."""
    answers = await asyncio.gather(*(add(http, admin, ollama.url) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    assert len((await http.get(f"{API}/deployments", headers=admin)).json()) == 1


async def test_a_name_cannot_be_changed_to_anothers(
    http: httpx.AsyncClient, admin: dict[str, str], deployment: int, ollama: Ollama
) -> None:
    """Its own it may have."""
    other = (await add(http, admin, ollama.url, "other")).json()["id"]
    url = f"{API}/deployments/{other}"
    assert (await http.put(url, headers=admin, json={"name": "ollama"})).status_code == 409
    assert (await http.put(url, headers=admin, json={"name": "other"})).status_code == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"port": 0}, {"port": 65_536}, {"port": "80"}, {"port": True}, {"name": ""}, {"name": "a\nb"},
        {"name": " a"}, {"host": ""}, {"host": "ftp://a"}, {"host": "http://"}, {"host": "http://a:99999"},
        {"host": "http://a b"}, {"host": "http://a\nb"}, {"host": "http://user:secret@a"},
        {"host": "http://a?b"}, {"host": "http://a#b"}, {"host": "http://a:8080"}, {"host": "file:///etc/passwd"},
        {"host": "::1"}, {"host": "http://[::1"}, {"host": "x" * 2000}, {"deployment_type": ""},
        {"description": 1}, {"host": None}, {"host": "¼"}, {"host": "xn--a"}, {"host": "a..b"}, {"host": "x" * 64},
    ],
    ids=str,
)  # fmt: skip
async def test_an_address_that_is_none_is_400(
    http: httpx.AsyncClient, admin: dict[str, str], changed: dict[str, Any]
) -> None:
    """With a text that says what is wrong, and nothing stored."""
    answer = await http.post(f"{API}/deployments", headers=admin, json={**GUIDES_DEPLOYMENT, **changed})
    assert answer.status_code == 400
    assert "secret" not in answer.text
    assert (await http.get(f"{API}/deployments", headers=admin)).json() == []


@pytest.mark.parametrize("text", ["'; DROP TABLE deployments; --", '" OR 1=1', "%", "Ünïcode ☂"])
async def test_sql_in_a_name_is_a_name(
    http: httpx.AsyncClient, admin: dict[str, str], ollama: Ollama, text: str
) -> None:
    """It comes back as it was written."""
    await add(http, admin, ollama.url, text, description=text, deployment_type=text)
    [shown] = (await http.get(f"{API}/deployments", headers=admin)).json()
    assert (shown["name"], shown["description"], shown["deployment_type"]) == (text, text, text)


@pytest.mark.parametrize(
    "host",
    [
        "http://169.254.169.254", "169.254.169.254", "http://2852039166", "http://0xa9fea9fe",
        "http://[::ffff:169.254.169.254]", "http://[64:ff9b::a9fe:a9fe]", "http://[2002:a9fe:a9fe::]",
        "http://[fe80::1]", "http://169.254.0.1", "http://100.100.100.200", "http://168.63.129.16",
        "http://[fd00:ec2::254]", "http://0.0.0.0", "http://[::]", "http://224.0.0.1", "http://255.255.255.255",
    ],
)  # fmt: skip
async def test_link_local_and_metadata_addresses_are_refused(
    http: httpx.AsyncClient, admin: dict[str, str], deployment: int, host: str
) -> None:
    """However they are written, when a deployment is made and when it is changed."""
    body = {"name": "x", "host": host, "port": 80}
    answer = await http.post(f"{API}/deployments", headers=admin, json=body)
    assert answer.status_code == 400, answer.text
    assert "cannot be used" in answer.json()["detail"]
    url = f"{API}/deployments/{deployment}"
    assert (await http.put(url, headers=admin, json={"host": host})).status_code == 400


@pytest.mark.parametrize(
    "host", ["http://127.0.0.1", "http://localhost", "http://127.1.2.3", "http://2130706433", "http://127.1"]
)
async def test_the_gate_itself_is_refused(
    open_config: OpenGate, open_bku: OpenBku, ollama: Ollama, host: str
) -> None:
    """Any address of this machine with a port that gate.toml names."""
    port = int(ollama.url.rpartition(":")[2])

    def change(document: dict[str, Any]) -> None:
        document["metrics"] = {"listen": f"127.0.0.1:{port}"}

    async with open_config("bku.toml", change) as running:
        admin = await log_in(running.http, ADA)
        body = {"name": "x", "host": host, "port": port}
        answer = await running.http.post(f"{API}/deployments", headers=admin, json=body)
        assert answer.status_code == 400, answer.text
        assert "this gate itself" in answer.json()["detail"]


async def test_a_name_that_later_means_another_address_is_not_followed_there(
    open_bku: OpenBku, ollama: Ollama, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: every connection goes to an address that was judged for it."""
    meaning = ["127.0.0.1"]
    ollama.headers = [(b"connection", b"close")]

    async def resolve(host: str, port: int) -> list[str]:
        return list(meaning)

    monkeypatch.setattr("llmgate.proxy.address_guard.resolve_name", resolve)
    async with open_bku() as running:
        admin = await log_in(running.http, ADA)
        url = ollama.url.replace("127.0.0.1", "rebinding.example.com")
        assert (await add(running.http, admin, url)).status_code == 201
        assert (
            await running.http.post(f"{API}/inference/chat", headers=admin, json=HELLO)
        ).status_code == 200
        meaning[:] = ["169.254.169.254"]
        answer = await running.http.post(f"{API}/inference/chat", headers=admin, json=HELLO)
        assert (answer.status_code, len(ollama.asked)) == (500, 1)
        assert "169.254" not in answer.text
        health = await running.http.get(f"{API}/deployments/1/health", headers=admin)
        assert health.json()["status"] == "unhealthy"


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"307 Temporary", b"308 Permanent"])
async def test_a_server_that_redirects_is_refused(
    http: httpx.AsyncClient, admin: dict[str, str], ollama: Ollama, status: bytes
) -> None:
    """Wherever it redirects to; and one that begins to later is not followed."""
    target = b"location: %b/v1/models\r\n" % ollama.url.encode()

    async def redirect(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(status=status, headers=target)

    async with ScriptedUpstream(redirect) as server:
        answer = await add(http, admin, server.url)
        assert (answer.status_code, "redirects" in answer.text) == (400, True)
    assert ollama.listed == 0


async def test_a_redirect_that_comes_later_is_not_followed(
    http: httpx.AsyncClient, admin: dict[str, str], ollama: Ollama
) -> None:
    """Neither by probes nor by chats."""
    honest = True
    target = ollama.url.encode()

    async def turncoat(scope: Scope, receive: Receive, send: Send) -> None:
        if honest:
            await Ollama()(scope, receive, send)
            return
        headers = [(b"location", target + scope["raw_path"])]
        await send({"type": "http.response.start", "status": 307, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async with serve(turncoat) as url:
        assert (await add(http, admin, url)).status_code == 201
        assert (await http.get(f"{API}/inference/models", headers=admin)).status_code == 200
        honest = False
        assert (await http.post(f"{API}/inference/chat", headers=admin, json=HELLO)).status_code == 500
        health = await http.get(f"{API}/deployments/1/health", headers=admin)
        assert health.json()["status"] == "unhealthy"
    assert (ollama.listed, ollama.asked) == (0, [])


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("ollama", "http://ollama:11434"),
        ("http://ollama", "http://ollama:11434"),
        ("https://ollama:11434", "https://ollama:11434"),
        ("http://ollama/v1", "http://ollama:11434"),
        ("http://ollama/proxy", "http://ollama:11434/proxy"),
        ("[::1]", "http://[::1]:11434"),
    ],
)
def test_a_host_is_a_name_or_a_url(host: str, url: str) -> None:
    """With the port that the deployment has, and without the part that every API has."""
    assert url_of(host, 11_434) == url


def test_what_the_ledger_calls_a_deployment_leads_back_to_it() -> None:
    """And no upstream of gate.toml is one."""
    row = Deployment(7, "a", "ollama", 80, "local", None, True, 0.0, 0.0)
    assert deployment_of(row.upstream) == 7
    assert [deployment_of(name) for name in ("vllm", "deployment:", "deployment:x", "7")] == [None] * 4
