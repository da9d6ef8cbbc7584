import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from real_backends import require_backend

from llmgate.errors import ConfigError
from llmgate.tools.demo import process
from llmgate.tools.demo.process import running_backend

PARENT = """
import sys
from pathlib import Path
from llmgate.tools.demo.process import running_backend

with running_backend(log=Path(sys.argv[1]), context=256, slots=1) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def test_the_backend_answers_and_ends_with_its_block(tmp_path: Path) -> None:
    """A real model, under the name that gate.toml uses, with the context that was asked for."""
    require_backend()
    with running_backend(log=tmp_path / "log", context=256, slots=2) as url:
        [model] = httpx.get(f"{url}/v1/models").json()["data"]
        slots = httpx.get(f"{url}/slots").json()
    assert model["id"] == "smollm2"
    assert [slot["n_ctx"] for slot in slots] == [256, 256]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/v1/models")


def test_the_backend_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """Nothing is left behind, however the demo ended: the backend's end shows as the end of its log."""
    require_backend()
    log = tmp_path / "log"
    os.mkfifo(log)
    command = [sys.executable, "-c", PARENT, str(log)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent,
        log.open("rb") as report,
    ):
        assert parent.stdout is not None
        url = parent.stdout.readline().decode().strip()
        parent.kill()
        report.read()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")


def test_packages_that_are_missing_are_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is started."""
    monkeypatch.setattr(process, "PACKAGES", {"json": "json", "not_there": "not-there"})
    with (
        pytest.raises(ConfigError, match=r"not installed: not-there: run `make demo`, or: pip install"),
        running_backend(log=tmp_path / "log"),
    ):
        pass
    assert not (tmp_path / "log").exists()


def test_a_backend_that_does_not_start_is_an_error_that_names_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has what the backend said before it ended."""
    monkeypatch.setattr(process, "PACKAGES", {})
    monkeypatch.setattr(process, "PROGRAM", "llmgate.no_such_module")
    with (
        pytest.raises(ConfigError, match=r"did not start: .*log says why"),
        running_backend(log=tmp_path / "log"),
    ):
        pass
    assert "no_such_module" in (tmp_path / "log").read_text()
