"""The example of docs/guide/plugins.md, installed outside of llmgate's own wheel and served for real."""

import json
import os
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copy
from typing import Any, ClassVar

import httpx
import pytest
from click.testing import CliRunner

from llmgate.cli import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "hello_plugin"

GATE = """
[gate]
listen = ["unix:gate.sock"]

[upstreams.small]
urls = ["{url}"]
dialect = "openai"
list_models = false

[[routes]]
path = "/v1"
upstream = "small"
middleware = ["ratelimit", "hello.introduce", "quota", "accounting"]

[plugins.hello]
prefix = "/greetings"
greeting = "Welcome"
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of packages with the example in it, as an installer leaves it there."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / f"hello_plugin-{project['version']}.dist-info"
    info.mkdir(parents=True)
    name = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(name)
    points = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("".join(points))
    copy(EXAMPLE / "hello_plugin.py", info.parent)
    return info.parent


def run(folder: Path, *arguments: str) -> str:
    """What a command with the gate.toml of `folder` prints."""
    result = CliRunner().invoke(
        main, ["--config", str(folder / "gate.toml"), *arguments], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


class Model(BaseHTTPRequestHandler):
    """A backend that remembers what it was asked."""

    asked: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        body = b'{"choices":[],"usage":{"prompt_tokens":16,"completion_tokens":5,"total_tokens":21}}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def model() -> Iterator[str]:
    """The URL of a backend in a thread."""
    Model.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def served(folder: Path, site: Path) -> Iterator[httpx.Client]:
    """A client of the gate of `folder`, which runs in a process of its own."""
    command = [sys.executable, "-m", "llmgate", "--config", str(folder / "gate.toml"), "serve"]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("llmgate listens on")
            socket = httpx.HTTPTransport(uds=str(folder / "gate.sock"))
            with httpx.Client(transport=socket, base_url="http://gate") as client:
                yield client
        finally:
            process.send_signal(signal.SIGTERM)


def test_the_example_works_from_outside_of_the_wheel(
    tmp_path: Path, site: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that it brings: an operation behind the authentication, a page, a layer that changes prompts, a command."""
    monkeypatch.syspath_prepend(str(site))
    (tmp_path / "gate.toml").write_text(GATE.format(url=model))
    assert "plugins: 1" in run(tmp_path, "check")
    run(tmp_path, "migrate")
    run(tmp_path, "user", "add", "ann", "--no-password")
    key = {"x-api-key": run(tmp_path, "key", "create", "ann", "--name", "test", "--quiet")}
    question = {"role": "user", "content": "Who am I?"}
    with served(tmp_path, site) as client:
        refused = client.get("/greetings/hello")
        greeted = client.get("/greetings/hello", headers=key)
        page = client.get("/greetings/")
        chat = {"model": "small", "messages": [question]}
        answered = client.post("/v1/chat/completions", headers=key, json=chat)
        no_chat = client.post("/v1/chat/completions", headers=key, json={"model": "small", "messages": 1})
        again = client.get("/greetings/hello", headers=key)
    assert refused.status_code == 401
    assert greeted.json() == {"message": "Welcome, ann.", "tokens": 0}
    assert (page.headers["content-type"], "<h1>Welcome!</h1>" in page.text) == (
        "text/html; charset=utf-8",
        True,
    )
    assert answered.status_code == 200
    [asked] = Model.asked
    assert asked["messages"] == [{"role": "system", "content": "You talk to ann."}, question]
    assert (no_chat.status_code, no_chat.json()["error"]["message"]) == (
        400,
        "The body is no chat with messages.",
    )
    assert again.json()["tokens"] == 21
    assert "hello" in run(tmp_path, "--help")
    assert run(tmp_path, "hello") == "Welcome. 21 tokens so far."


def test_a_bad_setting_is_reported_with_its_place(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of gate.toml's own tables are."""
    monkeypatch.syspath_prepend(str(site))
    (tmp_path / "gate.toml").write_text(
        GATE.format(url="http://127.0.0.1:9").replace("greeting =", "greetings =")
    )
    result = CliRunner().invoke(main, ["--config", str(tmp_path / "gate.toml"), "check"])
    assert result.exit_code == 2
    assert 'plugins.hello.greetings: unknown key (did you mean "greeting"?)' in result.output


@pytest.mark.parametrize("file", ["hello_plugin.py", "pyproject.toml"])
def test_the_guide_shows_the_example_as_it_is(file: str) -> None:
    assert (EXAMPLE / file).read_text().strip() in (ROOT / "docs" / "guide" / "plugins.md").read_text()
