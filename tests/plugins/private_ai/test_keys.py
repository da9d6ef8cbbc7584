"""Private AI keys: made whole or not at all, used within their terms, deleted with everything."""

from pgvector_server import PostgresServer

from plugins.private_ai.conftest import OpenGate


def databases(postgres: PostgresServer) -> set[str]:
    """Databases and roles of tenants on the server."""
    rows = postgres.run("SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles")
    return {name for (name,) in rows if name.startswith(("db_", "user_"))}


async def test_a_full_key_opens_models_and_a_database(open_gate: OpenGate, postgres: PostgresServer) -> None:
    async with open_gate(postgres=postgres) as running:
        before = databases(postgres)
        await running.user("ann@example.com")
        key = await running.ask(
            "ann@example.com", "POST", "/private-ai-keys", {"name": "mine", "region_id": "1"}
        )
        assert set(key) == {
            *("id", "name", "region", "region_id", "region_label", "owner_id", "team_id", "created_at"),
            *("database_name", "database_host", "database_port", "database_username", "database_password"),
            *("litellm_token", "litellm_api_url"),
        }
        assert (key["litellm_api_url"], key["region"]) == ("http://localhost:4000", "local")
        rows = postgres.run(
            "CREATE EXTENSION IF NOT EXISTS vector; SELECT '[1,2]'::vector <-> '[1,3]'",
            database=key["database_name"], user=key["database_username"], password=key["database_password"],
        )  # fmt: skip
        assert rows == [(1.0,)]
        answer = await running.chat(key["litellm_token"])
        assert answer.json()["choices"][0]["message"]["content"] == "Hello!", answer.text
        listed = await running.ask("ann@example.com", "GET", "/private-ai-keys/")
        assert listed == [key]
        assert await running.ask("ann@example.com", "DELETE", f"/private-ai-keys/{key['id']}") == {
            "message": "Private AI Key deleted successfully"
        }
        assert databases(postgres) == before
        assert (await running.chat(key["litellm_token"])).status_code == 401
        assert await running.ask("ann@example.com", "GET", "/private-ai-keys") == []
