import json
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from real_backends import require_backend

from llmgate.cli import demo, main
from llmgate.config import load


def _printed(lines: list[str], word: str) -> list[str]:
    """The words of the one printed command that has `word` in it."""
    [command] = [words for line in lines if word in (words := shlex.split(line)) and line.startswith("  ")]
    return command


def _ask(curl: list[str]) -> dict[str, Any]:
    """Do what the printed curl line does, and also ask for usage: the last event, which has it."""
    url, body = curl[2], json.loads(curl[curl.index("-d") + 1])
    headers = dict(curl[i + 1].split(": ", 1) for i, word in enumerate(curl) if word == "-H")
    body["stream_options"] = {"include_usage": True}
    with httpx.stream("POST", url, headers=headers, json=body, timeout=60) as answer:
        assert answer.status_code == 200
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert events[-1] == "[DONE]" and len(events) > 10
    usage: dict[str, Any] = json.loads(events[-2])["usage"]
    return usage


def test_the_demo_from_its_first_line_to_ctrl_c(tmp_path: Path) -> None:
    """The printed curl line streams an answer, the printed usage line shows the model's count, nothing stays."""
    require_backend()
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "llmgate", "demo", f"--dir={folder}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                if "Ctrl-C" in line:
                    break
            reported = _ask(_printed(lines, "curl"))
            used = json.loads(subprocess.check_output([*_printed(lines, "usage"), "--json"]))
        finally:
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert (used["requests"], used["input_tokens"], used["output_tokens"]) == (
        1,
        reported["prompt_tokens"],
        reported["completion_tokens"],
    )
    config = load(folder / "gate.toml")
    for url in (*config.upstreams["demo"].urls, f"http://{config.gate.listen[0]}"):
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)


def test_the_next_free_port_is_taken() -> None:
    """A port in use is no reason to stop a newcomer."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert port < demo._free_address(port).port <= port + demo.PORTS


def test_each_demo_has_a_fresh_key_for_the_same_user(migrated: Path) -> None:
    """What earlier demos showed on a screen opens nothing any more; the ledger goes on."""
    import asyncio

    from llmgate.cli.administration import administer

    config = load(migrated / "gate.toml")

    async def keys() -> tuple[list[str], list[str]]:
        secrets = [await demo._fresh_key(config), await demo._fresh_key(config)]
        async with administer(config) as gate:
            return secrets, [key.masked for key in await gate.identity.keys.all()]

    (first, second), left = asyncio.run(keys())
    assert first != second and left == [f"llmgate_...{second[-4:]}"]


def test_the_demos_gate_toml_can_be_read_and_reused(tmp_path: Path) -> None:
    """Loads without a problem, and says what its lines are for."""
    text = demo._gate_toml(demo.Address("127.0.0.1", 8000), "http://127.0.0.1:9")
    (tmp_path / "gate.toml").write_text(text)
    config = load(tmp_path / "gate.toml")
    assert config.upstreams["demo"].context_length == demo.CONTEXT
    assert tomllib.loads(text)["gate"] == {"listen": ["127.0.0.1:8000"]}


def test_a_folder_that_cannot_be_made_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    """Exit code 2, no traceback."""
    (tmp_path / "file").touch()
    result = CliRunner().invoke(main, ["demo", "--dir", str(tmp_path / "file" / "demo")])
    assert result.exit_code == 2
    assert "Not a directory: choose another place with --dir" in result.stderr


def test_the_command_is_shown_as_it_was_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By its name where the shell finds it, by its path where not, by python -m where it was started so."""
    script = tmp_path / "llmgate"
    script.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    typed = {
        str(script): ["llmgate"],
        ".venv/bin/llmgate": [".venv/bin/llmgate"],
        "/x/llmgate/__main__.py": [sys.executable, "-m", "llmgate"],
    }
    for called, shown in typed.items():
        monkeypatch.setattr(sys, "argv", [called])
        assert demo._this_command() == shown
