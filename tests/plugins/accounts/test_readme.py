"""The README's own commands, run by curl as they stand."""

import asyncio
import os
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from servers import serve

from llmgate_accounts.settings import Settings
from plugins.conftest import Model, OpenGate

README = Path(__file__).parents[3].joinpath("plugins/llmgate_accounts/README.md").read_text()


async def curl(command: str, token: str) -> Any:
    """The answer to a command of the README, which must succeed."""
    process = await asyncio.create_subprocess_shell(
        f"{command} --silent --show-error --fail-with-body --max-time 10",
        env={**os.environ, "TOKEN": token, "NO_PROXY": "*"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, (command, out, err)
    return msgspec.json.decode(out)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_commands_run_one_after_the_other(open_config: OpenGate, model: Model) -> None:
    """Each is answered with what the README says of it."""
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    commands = [
        command for block in blocks for command in re.split(r"\n(?=curl )", block.strip().replace("\\\n", ""))
    ]
    answers, token = {}, ""
    async with serve(model) as upstream:

        def change(document: dict[str, Any]) -> None:
            document["upstreams"]["vllm"]["urls"] = [upstream]

        async with open_config("accounts.toml", change) as running:
            for command in commands:
                answer = await curl(command.replace("http://localhost:8000", running.url), token)
                token = answer.get("access_token", token)
                path = re.search(r"localhost:8000(\S+)", command)
                assert path is not None, command
                answers[path[1]] = answer
    account = {"id": 1, "username": "john_doe", "token_limit": 10_000}
    assert answers.pop("/auth/token").keys() == answers.pop("/auth/refresh").keys()
    assert answers == {
        "/auth/register": {**account, "tokens_used": 0},
        "/chat/completions": msgspec.json.decode(model.answer),
        "/users/usage": {"tokens_used": 20, "token_limit": 10_000, "remaining": 9_980},
        "/users/me": {**account, "tokens_used": 20},
        "/users/me/token-limit": {**account, "tokens_used": 20, "token_limit": 5000},
    }


def test_every_setting_is_in_the_table() -> None:
    """With its default."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", README, re.MULTILINE))
    defaults = {field.name: field.default for field in msgspec.structs.fields(Settings)}
    assert rows.keys() == defaults.keys()
    for key, default in defaults.items():
        if default is not None:
            written = f"{default:_}" if type(default) is int else msgspec.json.encode(default).decode()
            assert rows[key] == f"`{written}`"
