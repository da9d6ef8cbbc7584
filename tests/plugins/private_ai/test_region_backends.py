"""Regions that come and go while the gate runs, and what is asked of each."""

from pgvector_server import PostgresServer
from servers import serve

from plugins.conftest import Model
from plugins.private_ai.conftest import OpenGate
from plugins.private_ai.gate import ADMIN, USED, region

ANN = "ann@example.com"


async def test_a_region_is_added_while_the_gate_runs(open_gate: OpenGate, postgres: PostgresServer) -> None:
    far = Model(USED)
    async with serve(far) as url, open_gate(postgres=postgres) as running:
        made = await running.ask(ADMIN, "POST", "/regions", region(postgres, url + "/v1/"))
        assert (made["litellm_api_url"], made["postgres_admin_user"]) == (url, "postgres")
        assert "password" not in str(made) and "sk-backend" not in str(made)
        await running.user(ANN)
        listed = await running.ask(ANN, "GET", "/regions")
        assert [each["litellm_api_url"] for each in listed] == ["http://localhost:4000"] * 2
        assert set(listed[1]) == {
            *("id", "name", "label", "description", "postgres_host", "litellm_api_url", "is_active"),
            *("is_dedicated", "created_at"),
        }
        key = await running.token(ANN, region_id=made["id"])
        assert (await running.chat(key["litellm_token"])).status_code == 200
        _, headers, _ = far.requests[-1]
        assert headers[b"authorization"] == b"Bearer sk-backend" and running.backend.requests == []
        again = await running.ask(ADMIN, "POST", "/regions", region(postgres, url), status=400)
        assert again == {"detail": "A region with the name 'far' already exists"}
        path = f"/regions/{made['id']}"
        kept = await running.ask(ADMIN, "PUT", path, {"label": "Near", "litellm_api_key": ""})
        assert kept["label"] == "Near"
        await running.chat(key["litellm_token"])
        assert far.requests[-1][1][b"authorization"] == b"Bearer sk-backend"
        other = Model(USED)
        async with serve(other) as moved:
            await running.ask(ADMIN, "PUT", path, {"litellm_api_url": moved})
            assert (await running.chat(key["litellm_token"])).status_code == 200
            assert len(other.requests) == 1
