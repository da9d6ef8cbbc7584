"""The boards of the guide's four names: every query gives what it shows, by a real Prometheus that scrapes the gate."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from prometheus_server import Prometheus, prometheus_server

from plugins.conftest import CONFIG
from plugins.private_ai.conftest import OpenGate
from plugins.private_ai.gate import PASSWORD_OF_ALL, Running

FOLDER = CONFIG / "grafana" / "private-ai"
BOARDS = sorted(FOLDER.glob("*.json"))
ANN, TOKEN = "ann@example.com", "for-the-scraper"
METRIC = re.compile(r"\b((?:llmgate|auth|requests|audit|monitor|team|key)_[a-z_]+)(?=[{\[)]| [<>]|$)")
"""The name of a metric in a query; `by (team_id)` has none."""
LABELS = {"key_id", "team_id", "user_type", "event_type", "resource_type"}


def load(board: Path) -> Any:
    return json.loads(board.read_text())


def queries(board: Any) -> list[str]:
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def filled(query: str) -> str:
    """A query with what Grafana puts in place of its variables."""
    text = query.replace("$__rate_interval", "1m").replace('"$team"', '".*"')
    assert "$" not in text, query
    return text


async def use(running: Running) -> None:
    """Something of everything that the boards show, failures included."""
    team = await running.team("Bees")
    await running.user(ANN, team_id=team, role="admin")
    for password in ("wrong", PASSWORD_OF_ALL):
        await running.http.post("/auth/login", data={"username": ANN, "password": password})
        running.http.cookies.clear()
    await running.ask(ANN, "POST", "/private-ai-keys", {"name": "no server", "region_id": 1}, status=500)
    key = await running.token(ANN)
    for _ in range(3):
        assert (await running.chat(key["litellm_token"])).status_code == 200
    await running.chat("wrong")


def scrapes(port: int) -> str:
    """config/private-ai-prometheus.yml for a gate that is elsewhere, scraped as often as the test wants."""
    document = yaml.safe_load((CONFIG / "private-ai-prometheus.yml").read_text())
    for job in document["scrape_configs"]:
        job.pop("scrape_interval", None)
        assert job["static_configs"] == [{"targets": ["127.0.0.1:8800"]}]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
        if "authorization" in job:
            job["authorization"] = {"credentials": TOKEN}
    return yaml.safe_dump({"scrape_configs": document["scrape_configs"]})


async def test_every_query_of_every_board_gives_series(open_gate: OpenGate, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["plugins"]["llmgate_private_ai"]["team_metrics_token"] = TOKEN

    async with open_gate(change=change) as running:
        port = urlsplit(running.urls[8800]).port
        assert port is not None
        async with prometheus_server(tmp_path, scrapes(port)) as prometheus:
            await prometheus.until("llmgate_ledger_up == 1")
            await use(running)
            for board in BOARDS:
                for query in queries(load(board)):
                    for metric in set(METRIC.findall(query)) - LABELS:
                        await prometheus.until(metric)
                    await prometheus.until(filled(query))
            await _numbers(running, prometheus)


async def _numbers(running: Running, prometheus: Prometheus) -> None:
    """What was done is what is shown."""
    expected = {
        'sum(auth_requests_total{endpoint="/auth/login",status="4xx"})': 1,
        'sum(requests_by_user_type_total{user_type="team_admin",endpoint="private-ai-keys"})': 2,
        'sum(audit_events_total{resource_type="private-ai-keys",status="5xx"})': 1,
        "sum(team_total_spend)": 0.030075,
        "count(key_spend_percentage)": 1,
    }
    for query, value in expected.items():
        await prometheus.until(f"{query} == {value}")
    await running.http.post(
        "/auth/login", data={"username": ANN, "password": "wrong"}
    )  # grows a series it knows
    share = filled(_query("error-rates", "Failed sign-ins"))
    await prometheus.until(f"0 < ({share}) <= 1")


def _query(board: str, title: str) -> str:
    panels = {panel["title"]: panel for panel in load(FOLDER / f"{board}.json")["panels"]}
    expression: str = panels[title]["targets"][0]["expr"]
    return expression


def test_there_are_the_four_of_the_guide() -> None:
    guide = (Path(__file__).parents[2] / "data" / "guides" / "003-amazee-ai.md").read_text()
    titles = {load(board)["title"] for board in BOARDS}
    assert titles == {"System Overview", "Key Usage", "Team Analytics", "Error Rates"}
    assert all(f"- **{title}**" in guide for title in titles)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_a_board_can_be_imported(board: Path) -> None:
    """As far as that can be told without Grafana: ids of their own, and no panel over another."""
    document = load(board)
    places = [panel["gridPos"] for panel in document["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in document["panels"]}) == len(places)
    assert {panel["datasource"]["uid"] for panel in document["panels"]} == {"${datasource}"}
    assert len({load(each)["uid"] for each in BOARDS}) == len(BOARDS)
