"""The operations under /regions: what is tried before a region is added, and whose it is."""

from pgvector_server import PostgresServer
from servers import serve

from plugins.conftest import Model
from plugins.private_ai.conftest import OpenGate
from plugins.private_ai.gate import ADMIN, LIST, region


async def test_a_region_whose_servers_do_not_answer_is_not_added(
    open_gate: OpenGate, postgres: PostgresServer
) -> None:
    async with serve(Model(LIST)) as url, open_gate(postgres=postgres) as running:
        for changed, detail in (
            ({"litellm_api_url": "http://127.0.0.1:1"}, "LiteLLM endpoint validation failed: "),
            (
                {"litellm_api_url": "route:none"},
                "LiteLLM endpoint validation failed: gate.toml has no such route",
            ),
            ({"litellm_api_url": "http://127.0.0.1:8800"}, "LiteLLM endpoint validation failed: "),
            ({"postgres_port": 1}, "Database connection validation failed: the server cannot be reached"),
            ({"postgres_admin_password": "x"}, "Database connection validation failed: the server refused"),
        ):
            body = region(postgres, url) | changed
            refused = await running.ask(ADMIN, "POST", "/regions", body, status=400)
            assert refused["detail"].startswith(detail), refused
        await running.ask(ADMIN, "POST", "/regions", region(postgres, "not a url"), status=422)
        assert len(await running.ask(ADMIN, "GET", "/regions/admin")) == 1
