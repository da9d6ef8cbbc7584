"""The example of docs/guide/plugins.md, installed outside of llmgate's own wheel and served for real."""

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from shutil import copy

import httpx
import pytest
from click.testing import CliRunner

from llmgate.cli import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "hello_plugin"

GATE = """
[gate]
listen = ["unix:gate.sock"]

[upstreams.nobody]
urls = ["http://127.0.0.1:9"]

[[routes]]
path = "/v1"
upstream = "nobody"
middleware = ["hello.greet", "ratelimit", "quota", "accounting"]

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


def test_the_example_is_served_from_outside_of_the_wheel(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its operation behind the prefix and the authentication, its layer on the route that names it."""
    monkeypatch.syspath_prepend(str(site))
    (tmp_path / "gate.toml").write_text(GATE)
    assert "plugins: 1" in run(tmp_path, "check")
    run(tmp_path, "migrate")
    run(tmp_path, "user", "add", "ann", "--no-password")
    key = {"x-api-key": run(tmp_path, "key", "create", "ann", "--name", "test", "--quiet")}
    command = [sys.executable, "-m", "llmgate", "--config", str(tmp_path / "gate.toml"), "serve"]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("llmgate listens on")
            socket = httpx.HTTPTransport(uds=str(tmp_path / "gate.sock"))
            with httpx.Client(transport=socket, base_url="http://gate") as client:
                refused = client.get("/greetings/hello")
                greeted = client.get("/greetings/hello", headers=key)
                relayed = client.get("/v1/models", headers=key)
        finally:
            process.send_signal(signal.SIGTERM)
    assert refused.status_code == 401
    assert greeted.json() == {"message": "Welcome, ann.", "tokens": 0}
    assert relayed.headers["x-greeting"] == "Welcome, user 1"


def test_a_bad_setting_is_reported_with_its_place(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of gate.toml's own tables are."""
    monkeypatch.syspath_prepend(str(site))
    (tmp_path / "gate.toml").write_text(GATE.replace("greeting =", "greetings ="))
    result = CliRunner().invoke(main, ["--config", str(tmp_path / "gate.toml"), "check"])
    assert result.exit_code == 2
    assert 'plugins.hello.greetings: unknown key (did you mean "greeting"?)' in result.output


@pytest.mark.parametrize("file", ["hello_plugin.py", "pyproject.toml"])
def test_the_guide_shows_the_example_as_it_is(file: str) -> None:
    assert (EXAMPLE / file).read_text().strip() in (ROOT / "docs" / "guide" / "plugins.md").read_text()
