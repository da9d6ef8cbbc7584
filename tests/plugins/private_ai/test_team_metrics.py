"""Metrics of teams and keys: for who has the token, and by ids alone."""

from typing import Any

from llmgate_private_ai.plans import DAY
from plugins.private_ai.conftest import OpenGate
from plugins.private_ai.gate import Running

ANN, TOKEN = "ann@example.com", "for the scraper"
BEARER = {"authorization": f"Bearer {TOKEN}"}


async def test_teams_and_keys_have_series_of_their_own(open_gate: OpenGate) -> None:
    def change(document: dict[str, Any]) -> None:
        document["plugins"]["llmgate_private_ai"]["team_metrics_token"] = TOKEN

    async with open_gate(change=change) as running:
        team = await running.team("Bees")
        await running.user(ANN, team_id=team, role="admin")
        key = await running.token(ANN)
        await running.chat(key["litellm_token"])
        running.clock.pass_by(30 * DAY - 1)
        running.http.cookies.clear()
        text = (await running.http.get("/metrics/teams", headers=BEARER)).text
        assert f'team_freshness_days{{team_id="{team}"}} 29.0' in text
        assert f'team_expired_total{{team_id="{team}"}} 0.0' in text
        assert f'team_total_spend{{team_id="{team}"}} 0.010025' in text
        assert f'key_spend_percentage{{key_id="{key["id"]}",team_id="{team}"}} 0.0371' in text
        assert "Bees" not in text and ANN not in text and key["litellm_token"] not in text
        running.clock.pass_by(1)
        expired = (await running.http.get("/metrics/teams", headers=BEARER)).text
        assert f'team_expired_total{{team_id="{team}"}} 1.0' in expired
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
            assert (await running.http.get("/metrics/teams", headers=headers)).status_code == 401


async def test_without_a_token_there_are_none(running: Running) -> None:
    assert (await running.http.get("/metrics/teams", headers=BEARER)).status_code == 404
