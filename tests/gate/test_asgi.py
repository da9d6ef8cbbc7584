"""The whole gate on servers that others make: stock uvicorn, hypercorn and granian, as programs of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from gates import ANSWER, answers
from playbook import play
from servers import PATIENCE, ScriptedUpstream

from llmgate.asgi import create_app
from llmgate.config import load
from llmgate.identity import Identity
from llmgate.store import Store, migrate

GATE = """
[gate]
access_log = false
[store]
url = "sqlite:///gate.db"
[upstreams.vllm]
urls = ["{url}"]
dialect = "vllm"
context_length = 1000
health = {{ enabled = false }}
[[routes]]
path = "/v1"
upstream = "vllm"
[[quotas]]
per = "user"
tokens = 1_000_000
"""
APP = "llmgate.asgi:create_app"
SERVERS = {
    "uvicorn": ["uvicorn", "--factory", APP, "--port", "{port}", "--no-access-log"],
    "hypercorn": ["hypercorn", f"{APP}()", "--bind", "127.0.0.1:{port}"],
    "granian": ["granian", "--interface", "asgi", "--factory", APP, "--port", "{port}", "--no-access-log"],
}
BODY = {"model": "small", "messages": []}


@contextmanager
def served_by(server: str, file: Path) -> Iterator[str]:
    """The URL at which `server` serves the gate of `file`, a program of its own."""
    pytest.importorskip(server)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [word.format(port=port) for word in SERVERS[server]]
    environment = {**os.environ, "LLMGATE_CONFIG": str(file)}
    with subprocess.Popen(
        [sys.executable, "-m", *command], env=environment, cwd=file.parent, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
            process.send_signal(signal.SIGTERM)
            process.wait(4 * PATIENCE)
        finally:
            process.kill()


def _wait_for(port: int) -> None:
    end = time.monotonic() + 6 * PATIENCE
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server does not listen")


async def key_of(file: Path) -> str:
    url = load(file).store.url.reveal()
    await migrate(url)
    async with Store.open(url) as store:
        identity = Identity.over(store)
        user = await identity.users.register("ann", None)
        return (await identity.keys.create(user.id, "test"))[1]


@pytest.mark.parametrize("server", SERVERS)
async def test_it_runs_on_any_server(server: str, tmp_path: Path) -> None:
    """Authentication, relay, and a record in the ledger, which is closed in good order when the server stops."""
    file = tmp_path / "gate.toml"
    async with ScriptedUpstream(answers) as upstream:
        file.write_text(GATE.format(url=upstream.url))
        key = await key_of(file)
        with served_by(server, file) as url:
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False) as client:
                refused = await client.post("/v1/chat/completions", json=BODY)
                answer = await client.post("/v1/chat/completions", json=BODY, headers={"x-api-key": key})
                missing = await client.get("/nothing")
                ready = await client.get("/readyz")
    assert refused.status_code == 401
    assert (answer.status_code, answer.content) == (200, ANSWER)
    assert answer.headers["x-gate-request-id"]
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert ready.json()["ledger"] == "ok"
    used = subprocess.run(  # noqa: ASYNC221 - nothing else runs
        [sys.executable, "-m", "llmgate", "--config", str(file), "usage", "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert '"requests": 1' in used.stdout


async def test_before_it_is_started_it_answers_503() -> None:
    """Also where a server knows no lifespan: nothing is opened behind its back."""
    told = await play(create_app("nowhere.toml"))
    assert (told.status, told.error["code"]) == (503, "unavailable")


async def test_a_gate_that_cannot_be_opened_keeps_the_server_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says where and what to do; the exception is what servers stop at."""
    (tmp_path / "gate.toml").write_text("[gate]\nlisen = []\n")
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])

    with pytest.raises(Exception, match=r"gate\.lisen: unknown key"):
        await create_app(tmp_path / "gate.toml")({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.failed"]
    assert "gate.lisen: unknown key" in caplog.text
