import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from click.testing import CliRunner, Result
from stores import migrated_file

from llmgate.cli import main

__all__ = ["migrated_file"]

GATE = """
[upstreams.local]
urls = ["http://127.0.0.1:9"]
dialect = "llama_server"

[[routes]]
path = "/v1"
upstream = "local"

[[quotas]]
per = "user"
tokens = 1000
window = "month"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a gate.toml and nothing else."""
    (tmp_path / "gate.toml").write_text(GATE)
    return tmp_path


@pytest.fixture
def migrated(folder: Path, migrated_file: Path) -> Path:
    """A folder with a gate.toml and its store, migrated and without rows."""
    copy(migrated_file, folder / "gate.db")
    return folder


class Cli:
    """Runs `llmgate` with the gate.toml of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, *arguments: str, code: int = 0, stdin: str | None = None) -> Result:
        """Run a command and expect this exit code."""
        config = ["--config", str(self._folder / "gate.toml")]
        result = CliRunner().invoke(main, [*config, *arguments], input=stdin, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        """What a command prints with --json."""
        return json.loads(self(*arguments, "--json", code=code).stdout)


@pytest.fixture
def llmgate(migrated: Path) -> Cli:
    return Cli(migrated)


@pytest.fixture
def unmigrated(folder: Path) -> Cli:
    return Cli(folder)


@pytest.fixture
def bob(llmgate: Cli) -> Any:
    """The user bob is there."""
    return llmgate.json("user", "add", "bob", "--no-password")


@contextmanager
def backend(answer: Callable[[http.server.BaseHTTPRequestHandler], tuple[int, bytes]]) -> Iterator[str]:
    """The URL of a server, in a thread of its own, that answers each GET with this status and body."""

    class Backend(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
