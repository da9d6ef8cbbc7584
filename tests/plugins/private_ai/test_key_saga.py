"""Whatever fails or dies while a key is made or deleted, nothing is left over, and the rows tell the truth."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from pgvector_server import PostgresServer

from llmgate.plugin.kit.vector_databases import VectorServer, VectorServerFailed
from llmgate.store.schema import api_keys
from llmgate_private_ai.key_saga import GIVE_UP_AFTER
from llmgate_private_ai.keys import Keys
from llmgate_private_ai.tables import keys
from plugins.private_ai.conftest import OpenGate
from plugins.private_ai.gate import ADMIN, Running
from plugins.private_ai.test_keys import databases

ANN = "ann@example.com"
BODY = {"name": "mine", "region_id": 1}


class Killed(BaseException):
    """Stands for `kill -9`: nobody who handles errors handles this one."""


async def rows(running: Running) -> list[tuple[str, str | None]]:
    """The state and the database of every key there is a row of."""
    async with running.gate.services.store.connect() as db:
        return [tuple(row) for row in await db.execute(sa.select(keys.c.state, keys.c.database_name))]


async def open_tokens(running: Running) -> int:
    """API keys that open models and are not revoked."""
    async with running.gate.services.store.connect() as db:
        query = sa.select(sa.func.count()).where(
            api_keys.c.revoked_at.is_(None), api_keys.c.scope == "models"
        )
        return int(await db.scalar(query) or 0)


async def settled(running: Running) -> None:
    """Wait until the job has nothing left to do."""
    async with asyncio.timeout(20):
        while any(state != "live" for state, _ in await rows(running)):  # noqa: ASYNC110 - a server is at work
            await asyncio.sleep(0.01)


def dies_after(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, before: bool) -> None:
    """The gate is killed before or after this step."""
    step = getattr(owner, name)

    async def killed(self: Any, *args: Any, **rest: Any) -> Any:
        if before:
            raise Killed
        await step(self, *args, **rest)
        raise Killed

    monkeypatch.setattr(owner, name, killed)


STEPS = [(VectorServer, "create", True), (VectorServer, "create", False), (Keys, "made", True)]


@pytest.mark.parametrize("step", STEPS, ids=["before", "after the database", "before the end"])
async def test_a_creation_that_the_gate_did_not_survive_is_taken_back(
    open_gate: OpenGate,
    postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[Any, str, bool],
) -> None:
    there = databases(postgres)
    async with open_gate(postgres=postgres) as running:
        await running.user(ANN)
        with monkeypatch.context() as patched:
            dies_after(patched, *step)
            with pytest.raises(Exception):  # noqa: B017 - the connection is closed, in one way or another
                await running.ask(ANN, "POST", "/private-ai-keys", BODY, status=None)
        assert [state for state, _ in await rows(running)] == ["creating"]
        assert await running.ask(ANN, "GET", "/private-ai-keys") == []
        running.clock.pass_by(GIVE_UP_AFTER)
    async with open_gate(postgres=postgres) as running:
        await settled(running)
        assert await rows(running) == []
        assert await open_tokens(running) == 0
    assert databases(postgres) == there


@pytest.mark.parametrize("before", [True, False], ids=["before the database goes", "before the row goes"])
async def test_a_deletion_that_the_gate_did_not_survive_is_ended(
    open_gate: OpenGate, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    there = databases(postgres)
    async with open_gate(postgres=postgres) as running:
        await running.user(ANN)
        key = await running.ask(ANN, "POST", "/private-ai-keys", BODY)
        with monkeypatch.context() as patched:
            dies_after(patched, VectorServer, "drop", before)
            with pytest.raises(Exception):  # noqa: B017 - as above
                await running.ask(ANN, "DELETE", f"/private-ai-keys/{key['id']}", status=None)
        assert (await running.chat(key["litellm_token"])).status_code == 401
        running.clock.pass_by(GIVE_UP_AFTER)
    async with open_gate(postgres=postgres) as running:
        await settled(running)
        assert await rows(running) == []
    assert databases(postgres) == there


async def test_a_database_that_cannot_be_made_revokes_the_token_and_leaves_nothing(
    open_gate: OpenGate, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if it was made in half."""
    there, create = databases(postgres), VectorServer.create

    async def half(self: VectorServer, database: Any) -> None:
        await create(self, database)
        raise VectorServerFailed("the server did not answer in 4 s")

    async with open_gate(postgres=postgres) as running:
        await running.user(ANN)
        monkeypatch.setattr(VectorServer, "create", half)
        refused = await running.ask(ANN, "POST", "/private-ai-keys", BODY, status=500)
        assert refused == {"detail": "Failed to create vector database: the server did not answer in 4 s"}
        assert await open_tokens(running) == 0
        await settled(running)
        assert await rows(running) == []
    assert databases(postgres) == there


async def test_a_deletion_whose_server_is_away_can_be_tried_again(
    open_gate: OpenGate, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token is dead from the first try on, the key stays to be seen."""
    there = databases(postgres)
    async with open_gate(postgres=postgres) as running:
        await running.user(ANN)
        key = await running.ask(ANN, "POST", "/private-ai-keys", BODY)
        path = f"/private-ai-keys/{key['id']}"

        async def away(_: VectorServer, *names: str) -> None:
            raise VectorServerFailed("the server cannot be reached (OSError)")

        with monkeypatch.context() as patched:
            patched.setattr(VectorServer, "drop", away)
            refused = await running.ask(ANN, "DELETE", path, status=500)
            assert refused == {
                "detail": "Failed to delete vector database: the server cannot be reached (OSError)"
            }
        assert [each["id"] for each in await running.ask(ANN, "GET", "/private-ai-keys")] == [key["id"]]
        assert (await running.chat(key["litellm_token"])).status_code == 401
        await running.ask(ANN, "DELETE", path)
        await running.ask(ANN, "DELETE", path, status=404)
    assert databases(postgres) == there


async def test_of_keys_made_at_once_no_more_than_the_plan_gives(running: Running) -> None:
    """The trial gives a user five tokens."""
    await running.user(ANN)
    body = {"name": "k", "region_id": 1}
    made = await asyncio.gather(
        *(running.ask(ANN, "POST", "/private-ai-keys/token", body, status=None) for _ in range(9))
    )
    refused = [answer["detail"] for answer in made if "detail" in answer]
    assert refused == ["User has reached the maximum LLM token limit of 5 tokens"] * 4
    assert len(await running.ask(ANN, "GET", "/private-ai-keys")) == 5
    assert await open_tokens(running) == 5


async def test_a_team_with_keys_cannot_be_deleted_nor_a_user_nor_a_region(running: Running) -> None:
    team = await running.team("Bees")
    ann = await running.user(ANN, team_id=team, role="key_creator")
    await running.user("chief@bees.example", team_id=team, role="admin")
    key = await running.token(ANN)
    for path, detail in (
        (f"/teams/{team}", "Cannot delete team: it and its members have 1 keys"),
        (f"/users/{ann['id']}", "Cannot delete user with associated AI keys"),
        ("/regions/1", "Cannot delete region: 1 keys are in it. Delete them first."),
    ):
        assert await running.ask(ADMIN, "DELETE", path, status=400) == {"detail": detail}
    await running.ask(ANN, "DELETE", f"/private-ai-keys/{key['id']}")
    await running.ask(ADMIN, "DELETE", f"/users/{ann['id']}")
    await running.ask(ADMIN, "DELETE", f"/teams/{team}")
    await running.ask(ADMIN, "DELETE", "/regions/1")
    assert await running.ask(ADMIN, "GET", "/regions") == []
    again = await running.user(ANN)
    assert again["id"] != ann["id"]
