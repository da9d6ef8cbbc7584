"""The command `llm`, with the gate as one of its models."""

import asyncio
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from clients.backend import TEXT, DynamicUpstream, Failure
from clients.conftest import FINISHED, OpenSide, Side

if find_spec("llm") is None:
    pytest.skip("llm is not installed (make test-clients installs it)", allow_module_level=True)

SAID = "".join(TEXT)


async def llm(side: Side, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `llm` in an empty home of its own."""
    home = folder / "llm"
    await asyncio.to_thread(home.mkdir, exist_ok=True)
    model = {
        "model_id": "gated",
        "model_name": "small",
        "api_base": side.url,
        "api_key_name": "gate",
        "supports_tools": True,
    }
    (home / "extra-openai-models.yaml").write_text(json.dumps([model]))  # JSON is YAML, too
    (home / "keys.json").write_text(json.dumps({"gate": side.key}))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llm", "prompt", "-m", "gated", *arguments, "Hi"),
        env={**os.environ, "LLM_USER_PATH": str(home), "LLM_LOAD_PLUGINS": ""},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("how", [["--no-stream"], []])
async def test_chat_and_stream(how: list[str], side: Side, tmp_path: Path) -> None:
    """What the model said, and its usage: this client asks for it."""
    code, out, err = await llm(side, tmp_path, *how, "--usage")
    assert (code, out.strip()) == (0, SAID), err
    assert "5 input, 7 output" in err
    assert await side.charged() == [FINISHED]


async def test_tools(side: Side, tmp_path: Path) -> None:
    """It runs the tool and tells the model what came of it."""
    function = "def weather(city: str) -> str:\n    return f'rain in {city}'"
    code, out, err = await llm(side, tmp_path, "--functions", function)
    assert (code, out.strip()) == (0, SAID), err
    last: Any = side.backend.asked[-1][1]["messages"][-1]
    assert (last["role"], last["content"]) == ("tool", "rain in Zürich")


async def test_a_spent_quota_is_told_once(open_side: OpenSide, tmp_path: Path) -> None:
    """In the gate's words."""
    async with open_side(DynamicUpstream(), quotas=[{"per": "user", "tokens": 1}]) as side:
        code, _, err = await llm(side, tmp_path)
        assert (code, side.requests, side.backend.asked) == (1, 1, [])
        assert "used up" in err


async def test_an_upstreams_error_is_retried_by_the_client_alone(open_side: OpenSide, tmp_path: Path) -> None:
    """One failure, two tries."""
    async with open_side(DynamicUpstream(failures=[Failure(b"500 Internal Server Error")])) as side:
        code, out, err = await llm(side, tmp_path)
        assert (code, out.strip()) == (0, SAID), err
        assert (len(side.backend.asked), side.requests) == (2, 2)
