"""The guide itself: every curl command, both programs and the key management script, as they stand."""

import asyncio
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pgvector_server import PostgresServer, postgres_server

from plugins.private_ai.conftest import OpenGate
from plugins.private_ai.gate import ADMIN, Running

GUIDE = Path(__file__).parents[2] / "data" / "guides" / "003-amazee-ai.md"
YOU, PASSWORD = "your-email@example.com", "your-password"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def commands() -> list[str]:
    """Each curl command of the guide, in its order."""
    found: list[str] = []
    for block in blocks("bash"):
        text = re.sub(r"^#.*$", "", block, flags=re.MULTILINE).strip()
        found += [command.strip() for command in re.split(r"\n\s*\n", text) if command.strip()]
    assert all(command.startswith("curl") for command in found)
    return found


@pytest.fixture(scope="module")
def guides_postgres() -> Any:
    """A server on the port that `psycopg2.connect(host=...)` takes without one, at an address of the run's own."""
    with postgres_server(
        host=f"127.77.{os.getpid() % 251}.{os.getpid() // 251 % 251 + 1}", port=5432
    ) as server:
        yield server


@pytest.fixture
async def guide(
    open_gate: OpenGate, guides_postgres: PostgresServer, tmp_path: Path
) -> AsyncIterator["Reader"]:
    async with open_gate(postgres=guides_postgres) as running:
        await running.ask(None, "POST", "/auth/register", {"email": YOU, "password": PASSWORD})
        await running.sign_in(YOU, PASSWORD)
        yield Reader(running, tmp_path)


class Reader:
    """Somebody who follows the guide, with the tokens that the answers gave in place of its placeholders."""

    def __init__(self, running: Running, folder: Path) -> None:
        self.running = running
        self.folder = folder
        self.known = {"your-token": running.bearers[YOU]}

    def here(self, text: str) -> str:
        """A command or program with its ports where this gate has them."""
        for placeholder in sorted(self.known, key=len, reverse=True):
            text = text.replace(placeholder, self.known[placeholder])
        for port, url in self.running.urls.items():
            text = text.replace(f"http://localhost:{port}", url)
        assert "localhost" not in text, text
        return text

    async def shell(self, command: str) -> tuple[int, Any]:
        """Status and body of the answer to one command."""
        out = await self._run(
            self.here(command) + " --silent --show-error --max-time 5 --write-out '\n%{http_code}'"
        )
        body, _, status = out.rpartition("\n")
        return int(status), json.loads(body)

    async def python(self, program: str) -> str:
        """What a program prints."""
        file = self.folder / "program.py"
        file.write_text(self.here(program))
        return await self._run(f"{sys.executable} {file}")

    async def _run(self, command: str) -> str:
        process = await asyncio.create_subprocess_shell(
            command,
            cwd=self.folder,
            env={**os.environ, "NO_PROXY": "*"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()


async def test_every_command_of_the_guide_runs_as_it_stands(guide: Reader) -> None:
    done: list[tuple[int, str]] = []
    for command in commands():
        if "extend-token-life" in command:  # of a system admin, as 1000 rpm are more than the trial gives
            key = await guide.running.ask(
                YOU, "POST", "/private-ai-keys/token", {"name": "k", "region_id": 1}
            )
            guide.known |= {
                "your-litellm-token": key["litellm_token"],
                "your-token": guide.running.bearers[ADMIN],
            }
        elif "your-api-token" in command:
            made = await guide.running.ask(YOU, "POST", "/auth/token", {"name": "ci"})
            guide.known["your-api-token"] = made["token"]
        elif "123456" in command:
            guide.known["123456"] = guide.running.code(YOU)
        status, body = await guide.shell(command)
        path = re.search(r"/[a-z-]+(/[a-z-]+)*(?=[\"\s]|$)", guide.here(command).split("http://")[1])
        done.append((status, path.group() if path else ""))
        if "extend-token-life" in command:
            assert (body["max_budget"], body["rpm_limit"]) == (100.0, 1000)
            guide.known["your-token"] = guide.running.bearers[YOU]
    assert done == [
        (200, "/auth/login"),
        (200, "/auth/validate-email"),
        (200, "/auth/sign-in"),
        (200, "/private-ai-keys/token/extend-token-life"),
        (200, "/private-ai-keys"),
        (200, "/private-ai-keys"),
        (200, "/private-ai-keys"),
        (200, "/private-ai-keys"),
        (200, "/private-ai-keys"),
        (200, "/regions"),
        (401, "/billing/webhooks"),  # it shows no credential, and says that all requests need one
    ]
    assert "access_token" in (guide.folder / "cookies.txt").read_text()


async def test_the_program_that_asks_a_model(guide: Reader) -> None:
    key = await guide.running.ask(YOU, "POST", "/private-ai-keys/token", {"name": "k", "region_id": 1})
    guide.known["your-litellm-token"] = key["litellm_token"]
    printed = await guide.python(next(block for block in blocks("python") if "chat/completions" in block))
    assert "'content': 'Hello!'" in printed


async def test_the_program_that_stores_vectors(guide: Reader, guides_postgres: PostgresServer) -> None:
    key = await guide.running.ask(YOU, "POST", "/private-ai-keys/vector-db", {"name": "k", "region_id": 1})
    guide.known |= {
        "your-db-host": key["database_host"],
        "your-db-name": key["database_name"],
        "your-username": key["database_username"],
        "your-password": key["database_password"],
    }
    program = next(block for block in blocks("python") if "psycopg2" in block)
    await guide.python("embedding_vector = [0.5] * 1536\n" + program)
    rows = guides_postgres.run(
        "SELECT content, vector_dims(embedding) FROM documents",
        database=key["database_name"],
        user=key["database_username"],
        password=key["database_password"],
    )
    assert rows == [("Sample document", 1536)]


async def test_the_script_that_manages_keys(guide: Reader) -> None:
    script = next(block for block in blocks("python") if "create_ai_key" in block)
    use = f"""
    made = create_ai_key("from a script", 1, "{guide.running.bearers[YOU]}")
    print(monitor_key_usage(made["id"], "{guide.running.bearers[YOU]}"))
    """
    printed = await guide.python(script + textwrap.dedent(use))
    assert "'spend': 0.0" in printed and "'max_budget': 27.0" in printed
