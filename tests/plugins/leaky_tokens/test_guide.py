"""The guide itself: its commands as they stand, run by curl one after the other, and its answers key by key."""

import asyncio
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from plugins.leaky_tokens.gate import Running

GUIDE = Path(__file__).parents[2] / "data" / "guides" / "002-leaky-tokens.md"
ADDED = {"email", "createdAt", "expiresAt"}
"""What the system answers to registration and login besides what its guide shows."""
PLACEHOLDERS = {
    "user": "550e8400-e29b-41d4-a716-446655440000",
    "organization": "10000000-0000-0000-0000-000000000001",
    "key": "660e8400-e29b-41d4-a716-446655440001",
    "purchase": "770e8400-e29b-41d4-a716-446655440002",
}

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def commands() -> list[tuple[str, Any]]:
    """Each curl command of the guide and the answer that it shows, if it shows one."""
    found: list[tuple[str, Any]] = []
    for kind, block in re.findall(r"```(bash|json)\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        if kind == "bash":
            text = re.sub(r"#.*|export .*", "", block).strip().replace("\\\n", "")
            found += [(command, None) for command in re.split(r"\n+(?=curl )", text) if "..." not in command]
        elif not re.match(r'{\s+"(message|allowed": false)', block):  # errors are tested one by one
            found[-1] = (found[-1][0], json.loads(block))
    return [(command, shown) for command, shown in found if command.startswith("curl")]


class Reader:
    """Somebody who follows the guide, with the ids and the credentials that the answers gave."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self.known: dict[str, str] = {}
        self.env: dict[str, str] = {}

    async def run(self, command: str) -> tuple[int, Any]:
        """Status and body of the answer to one command of the guide."""
        for name, value in self.known.items():
            command = command.replace(PLACEHOLDERS[name], value)
        for port, url in self._running.ports.items():
            command = command.replace(f"http://localhost:{port}", url)
        assert "localhost" not in command
        process = await asyncio.create_subprocess_shell(
            f"{command} --silent --show-error --max-time 10 --write-out '\\n%{{http_code}}'",
            env={**os.environ, **self.env, "NO_PROXY": "*"},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        body, _, status = out.decode().rpartition("\n")
        return int(status), json.loads(body) if body else None


def compare(shown: Any, said: Any, place: str = "") -> None:
    """`said` has the guide's keys, and values of the same types; times look alike."""
    assert type(said) is type(shown) or shown is None, (place, said)
    if isinstance(shown, dict):
        assert set(shown) <= set(said) <= set(shown) | ADDED, (place, said)
        for key, value in shown.items():
            compare(value, said[key], f"{place}.{key}")
    elif isinstance(shown, list):
        assert said, place
        for item in said:
            compare(shown[0], item, f"{place}[]")
    elif isinstance(shown, str) and re.fullmatch(r"[\d-]{10}T[\d:]{8}Z", shown):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", said), (place, said)


async def test_every_command_of_the_guide_runs_as_it_stands(running: Running) -> None:
    """On its four ports; only the ids and credentials are those of the answers."""
    reader, done = Reader(running), []
    for command, shown in commands():
        path = re.sub(r".*localhost:\d+(/[a-z0-9/-]+).*", r"\1", command, flags=re.DOTALL)
        if "api/v1/tokens/purchase/" in command:
            await until_completed(reader, command)
        status, said = await reader.run(command)
        done.append((path, status))
        if shown is not None:
            compare(shown, said, path)
        await learn(running, reader, path, command, said)
    statuses = [f"{status} {path.removeprefix('/api/v1/')}" for path, status in done]
    assert statuses == [
        "201 auth/register",
        "200 auth/login",
        "400 tokens/quota",  # the guide's example has no query here
        "201 auth/api-keys",
        "200 tokens/status",
        "200 auth/api-keys",
        "204 auth/api-keys",
        "401 tokens/status",  # "should return 401": the key was revoked
        "200 tokens/quota",
        "200 tokens/quota/org",
        "200 tokens/consume",
        "200 tokens/consume",
        "202 tokens/purchase",
        f"200 tokens/purchase/{PLACEHOLDERS['purchase']}",
        "200 analytics/usage",
        "200 analytics/report",
        "200 analytics/anomalies",
        "200 tokens/status",
        "200 tokens/quota",
        "200 tokens/consume",
        "200 tokens/quota",
    ]


async def learn(running: Running, reader: Reader, path: str, command: str, said: Any) -> None:
    """What somebody who follows the guide would copy from an answer, or ask the operator for."""
    if path.endswith("/register"):
        reader.known["user"], reader.env["JWT_TOKEN"] = said["userId"], said["token"]
        user = await running.services.identity.users.by_uuid(said["userId"])
        organization = await running.organization(tokens=5000)
        by_uuid = await running.services.identity.organizations.by_uuid(organization)
        await running.services.identity.organizations.add_member(by_uuid.id, user.id)
        reader.known["organization"] = organization
    elif path.endswith("/login"):
        reader.env["JWT_TOKEN"] = said["token"]
    elif path.endswith("/api-keys") and "POST" in command:
        reader.known["key"], reader.env["API_KEY"] = said["id"], said["rawKey"]
    elif path.endswith("/purchase"):
        reader.known["purchase"] = said["sagaId"]
    elif path.endswith("/anomalies"):  # the gateway's chapter begins with a key that is good
        user = await running.services.identity.users.by_uuid(reader.known["user"])
        _, reader.env["API_KEY"] = await running.services.identity.keys.create(user.id, "another")


async def until_completed(reader: Reader, command: str) -> None:
    """Ask until the purchase has gone its way, as a user would."""
    async with asyncio.timeout(10):
        while (await reader.run(command))[1]["status"] != "COMPLETED":  # noqa: ASYNC110 - curl takes its time
            await asyncio.sleep(0)


async def test_the_guides_own_client_backs_off_and_comes_through(running: Running) -> None:
    """Best practice 1: 429 says in `waitSeconds` when the same request would be allowed."""
    account = await running.account()
    await running.give(account, 5000)
    assert (await running.consume(account, 1000)).status_code == 200
    refused = await running.consume(account, 150)
    assert refused.status_code == 429
    assert refused.json()["waitSeconds"] in (14, 15)  # at 10 tokens a second, some of which may have run out
    assert refused.json()["providerResponse"] == {}
    assert refused.headers["retry-after"] == str(refused.json()["waitSeconds"])
