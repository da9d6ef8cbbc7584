import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

LOADED_WHEN_READY = """
import os, signal, sys
from llmgate.cli import main, serve

def ready(config):
    print(*sys.modules)
    os.kill(os.getpid(), signal.SIGTERM)

serve.announce = ready
main(["serve"], prog_name="llmgate")
"""


def test_serve_says_where_it_listens_and_stops_in_order(folder: Path) -> None:
    """On stderr, as stdout has the access log; SIGTERM ends it with exit code 0."""
    text = (folder / "gate.toml").read_text()
    (folder / "gate.toml").write_text(f'[gate]\nlisten = ["unix:{folder / "s"}"]\n' + text)
    command = [sys.executable, "-m", "llmgate", "--config", str(folder / "gate.toml"), "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = [process.stderr.readline(), process.stderr.readline()]
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(folder / "s"))) as client:
            refused = client.get("http://gate/v1/models")
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate()
    assert said == [f"llmgate listens on unix:{folder / 's'}\n", "routes: /v1 -> local\n"]
    assert refused.status_code == 401
    assert process.returncode == 0 and "Traceback" not in stderr
    assert [json.loads(line)["path"] for line in stdout.splitlines()] == ["/v1/models"]


USED_WHEN_READY = {
    "aiosqlite": "the store is SQLite",
    "argon2": "passwords",
    "httptools": "the protocol's parser, and the client's on the data path",
    "limits.aio.strategies": "rate limits",
    "prometheus_client": "metrics",
    "starlette.applications": "the gate is a Starlette application",
    "uvicorn.server": "the server",
}
"""The stack that the gate stands on, and what for; `jwt` is loaded with the first session, `httpx` with a plugin,
a proxy, or an app that the gate is put around."""


@pytest.mark.usefixtures("llmgate")
def test_the_gate_stands_on_the_stack_that_was_chosen(folder: Path) -> None:
    """In a process that serves, not in a list of dependencies."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED_WHEN_READY], cwd=folder, capture_output=True, text=True, check=True
    )
    assert sorted(USED_WHEN_READY.keys() - set(done.stdout.split())) == []


HUNG_UP_EARLY = """
import os, signal
from llmgate.cli import hangup, main

taken = hangup.EarlyHangup.__init__

def take(self):
    taken(self)
    os.kill(os.getpid(), signal.SIGHUP)

hangup.EarlyHangup.__init__ = take
main(["serve"], prog_name="llmgate")
"""


@pytest.mark.usefixtures("llmgate")
def test_sighup_before_the_gate_listens_is_a_reload_once_it_does(folder: Path) -> None:
    """It ended the process: a deployment's reload may come in the second after its start."""
    command = [sys.executable, "-c", HUNG_UP_EARLY]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said: list[str] = []
        while "is in force" not in "".join(said[-1:]):
            said.append(process.stderr.readline())
            assert said[-1], said
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 0
    assert any("listens on" in line for line in said)
