"""Deployments: who may write them, what they say, and that they are in effect at once everywhere."""

import asyncio
import socket
from typing import Any

import httpx
import pytest
from servers import Peer, ScriptedUpstream, refused_url, serve
from starlette.types import Receive, Scope, Send
from stores import Clock

from plugins.conftest import OpenGate

from .conftest import ADA, API, HELLO, Ollama, OpenBku, add, log_in

GUIDES = {
    "name": "Production Ollama",
    "host": "http://ollama-prod.example.com",
    "port": 11434,
    "deployment_type": "cloud",
    "description": "Production cloud deployment",
}


@pytest.fixture
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name server knows any name."""

    async def resolve(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr("llmgate.proxy.address_guard.resolve_name", resolve)


@pytest.mark.usefixtures("no_names")
async def test_the_guides_deployment_is_created_though_nobody_answers_there_yet(
    http: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    """Its health tells, in a shape of its own."""
    answer = await http.post(f"{API}/deployments", headers=admin, json=GUIDES)
    assert answer.status_code == 201
    now = "2027-01-15T08:00:00"
    shown = {"id": 1, **GUIDES, "is_active": True, "created_at": now, "updated_at": now}
    assert answer.json() == shown
    assert (await http.get(f"{API}/deployments", headers=admin)).json() == [shown]
    assert (await http.get(f"{API}/deployments/1", headers=admin)).json() == shown
    health = await http.get(f"{API}/deployments/1/health", headers=admin)
    assert health.json() == {
        "deployment_id": 1,
        "name": "Production Ollama",
        "status": "unhealthy",
        "response_time_ms": None,
        "models": [],
        "checked_at": now,
    }


async def test_health_of_a_deployment_that_answers(
    http: httpx.AsyncClient, admin: dict[str, str], deployment: int
) -> None:
    """With its models and how long it took."""
    health = (await http.get(f"{API}/deployments/{deployment}/health", headers=admin)).json()
    assert health["status"] == "healthy"
    assert health["models"] == ["llama2", "mistral:latest"]
    assert health["response_time_ms"] >= 0


async def test_only_admins_write(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int, ollama: Ollama
) -> None:
    """Others read."""
    url = f"{API}/deployments/{deployment}"
    assert (await add(http, user, ollama.url, "mine")).status_code == 403
    assert (await http.put(url, headers=user, json={"name": "mine"})).status_code == 403
    assert (await http.delete(url, headers=user)).status_code == 403
    assert (await http.get(url, headers=user)).json()["name"] == "ollama"


async def test_a_change_holds_for_what_it_names(
    http: httpx.AsyncClient, admin: dict[str, str], deployment: int, clock: Clock
) -> None:
    """And for nothing else."""
    url = f"{API}/deployments/{deployment}"
    before = (await http.get(url, headers=admin)).json()
    clock.pass_by(5)
    after = (await http.put(url, headers=admin, json={"description": "new"})).json()
    assert after == {**before, "description": "new", "updated_at": "2027-01-15T08:00:05"}
    assert (await http.get(url, headers=admin)).json() == after


async def test_a_deployment_that_is_not_active_serves_nobody_until_it_is(
    http: httpx.AsyncClient, admin: dict[str, str], deployment: int
) -> None:
    """404, as for one that is not there."""
    url = f"{API}/deployments/{deployment}"
    await http.put(url, headers=admin, json={"is_active": False})
    assert (await http.get(f"{url}/health", headers=admin)).json()["status"] == "inactive"
    chat = {**HELLO, "deployment_id": deployment}
    assert (await http.post(f"{API}/inference/chat", headers=admin, json=chat)).status_code == 404
    assert (await http.post(f"{API}/inference/chat", headers=admin, json=HELLO)).status_code == 404
    await http.put(url, headers=admin, json={"is_active": True})
    assert (await http.post(f"{API}/inference/chat", headers=admin, json=chat)).status_code == 200


async def test_a_deleted_deployment_is_gone(
    http: httpx.AsyncClient, admin: dict[str, str], deployment: int
) -> None:
    """Its id is not given again."""
    url = f"{API}/deployments/{deployment}"
    assert (await http.delete(url, headers=admin)).status_code == 204
    for answer in (
        await http.get(url, headers=admin),
        await http.get(f"{url}/health", headers=admin),
        await http.put(url, headers=admin, json={"name": "x"}),
        await http.delete(url, headers=admin),
        await http.post(f"{API}/inference/chat", headers=admin, json={**HELLO, "deployment_id": deployment}),
    ):
        assert (answer.status_code, list(answer.json())) == (404, ["detail"])
    assert (await add(http, admin, await refused_url())).json()["id"] == deployment + 1


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
    answer = await http.post(f"{API}/deployments", headers=admin, json={**GUIDES, **changed})
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


# --- addresses that the gate must not ask


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


async def test_the_operator_may_allow_a_network(open_bku: OpenBku) -> None:
    """What is in it is let through whatever it is."""
    async with open_bku(allowed_networks=["0.0.0.0/32"]) as running:
        admin = await log_in(running.http, ADA)
        url = (await refused_url()).replace("127.0.0.1", "0.0.0.0")  # noqa: S104
        assert (await add(running.http, admin, url)).status_code == 201


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


# --- every worker


async def test_what_an_admin_writes_holds_in_every_worker_at_once(open_bku: OpenBku, ollama: Ollama) -> None:
    """Two gates on one store: adding, moving and deleting through one is seen by the very next request to the other."""
    async with open_bku() as one, open_bku() as two:
        admin = await log_in(one.http, ADA)

        async def chat() -> int:
            return (await two.http.post(f"{API}/inference/chat", headers=admin, json=HELLO)).status_code

        assert await chat() == 404
        number = (await add(one.http, admin, ollama.url)).json()["id"]
        assert await chat() == 200
        url = f"{API}/deployments/{number}"
        nobody = int((await refused_url()).rpartition(":")[2])
        await one.http.put(url, headers=admin, json={"port": nobody})
        assert await chat() == 500
        await one.http.put(url, headers=admin, json={"port": int(ollama.url.rpartition(":")[2])})
        assert await chat() == 200
        await one.http.delete(url, headers=admin)
        assert await chat() == 404


async def test_deployments_outlive_the_gate(open_bku: OpenBku, ollama: Ollama) -> None:
    """The next one finds them in the store."""
    async with open_bku() as running:
        admin = await log_in(running.http, ADA)
        await add(running.http, admin, ollama.url)
    async with open_bku() as running:
        answer = await running.http.post(f"{API}/inference/chat", headers=admin, json=HELLO)
        assert answer.status_code == 200


async def test_metrics_show_a_deployment_while_it_is_there(
    http: httpx.AsyncClient, admin: dict[str, str], deployment: int, user: dict[str, str], ollama: Ollama
) -> None:
    """Under the name that the ledger has for it."""
    up = f'llmgate_upstream_up{{replica="{ollama.url}",upstream="deployment:{deployment}"}}'
    await http.post(f"{API}/inference/chat", headers=user, json=HELLO)
    assert up in (await http.get("/metrics")).text
    await http.delete(f"{API}/deployments/{deployment}", headers=admin)
    await http.post(f"{API}/inference/chat", headers=user, json=HELLO)
    assert up not in (await http.get("/metrics")).text
