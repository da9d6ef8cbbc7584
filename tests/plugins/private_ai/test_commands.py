"""`llmgate vector-databases`: databases without a key, and keys without a database, are found."""

import json

import pytest
from click.testing import CliRunner
from pgvector_server import PASSWORD, PostgresServer

from llmgate.plugin.kit.vector_databases import ServerAddress, VectorDatabase, VectorServer
from llmgate_private_ai.commands import Differences, check, command
from plugins.private_ai.conftest import OpenGate

ANN = "ann@example.com"


async def test_what_servers_and_keys_do_not_agree_on(open_gate: OpenGate, postgres: PostgresServer) -> None:
    async with open_gate(postgres=postgres) as running:
        config = running.gate.services.config
        await running.user(ANN)
        before = await check(config)  # other tests use this server, too
        body = {"name": "mine", "region_id": 1}
        key = await running.ask(ANN, "POST", "/private-ai-keys/vector-db", body)
        found = await check(config)
        assert (found.lines, found.databases) == (before.lines, before.databases + 1)
        server = VectorServer(ServerAddress(postgres.host, postgres.port, "postgres", PASSWORD))
        stray = VectorDatabase.generate()
        await server.create(stray)
        await server.drop(key["database_name"], key["database_username"])
        where = f"{postgres.host}:{postgres.port} (local)"
        new = set((await check(config)).lines) - set(before.lines)
        assert new == {
            f"{where}: {stray.name} belongs to no key",
            f"{where}: key {key['id']} has no database {key['database_name']}",
        }
        await server.drop(stray.name, stray.username)


async def test_a_server_that_is_away_is_said(open_gate: OpenGate) -> None:
    async with open_gate() as running:
        found = await check(running.gate.services.config)
        assert found.lines == ["127.0.0.1:1 (local): the server cannot be reached (ConnectionRefusedError)"]


def test_the_command_prints_what_it_found_for_programs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Differences(unreachable=["a:1 (local): away"], databases=2)

    async def checked(_: object) -> Differences:
        return found

    monkeypatch.setattr("llmgate_private_ai.commands.check", checked)
    monkeypatch.setattr("llmgate_private_ai.commands.load_config", lambda _: None)
    done = CliRunner().invoke(command, ["--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "without_key": [],
        "without_database": [],
        "unreachable": ["a:1 (local): away"],
        "databases": 2,
    }
