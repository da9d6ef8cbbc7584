"""What the API counts beside the gate's metrics, under labels from closed sets that hold all of its operations."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from llmgate_private_ai.metrics import AUTH, METHODS, RESOURCES, Metrics
from plugins.private_ai.gate import ADMIN, PASSWORD_OF_ALL, Running

ANN = "ann@example.com"


async def samples(running: Running) -> dict[tuple[str, ...], float]:
    """Name and label values, in the order of the labels' names, of all that plugins count."""
    text = (await running.http.get("/metrics")).text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.startswith(("llmgate_", "monitor_teams_"))
    }


async def test_the_sets_hold_every_operation(running: Running) -> None:
    paths: dict[str, Any] = (await running.http.get("/openapi.json")).json()["paths"]
    ours = {path for path in paths if path.split("/")[1] not in ("", "health", "metrics")}
    assert {path.split("/")[1] for path in ours} == set(RESOURCES)
    assert {path for path in ours if path.startswith("/auth/")} == set(AUTH)
    assert {method.upper() for path in ours for method in paths[path]} == set(METHODS)


async def test_what_is_counted(running: Running) -> None:
    team = await running.team("Bees")
    await running.user(ANN, team_id=team, role="key_creator")
    made = await running.ask(ANN, "POST", "/auth/token", {"name": "ci"})
    await running.ask(ANN, "DELETE", f"/auth/token/{made['id']}")
    before = await samples(running)
    await running.http.post("/auth/login", data={"username": ANN, "password": "wrong"})
    await running.http.post("/auth/login", data={"username": ANN, "password": PASSWORD_OF_ALL})
    running.http.cookies.clear()
    await running.ask(ANN, "GET", "/regions")
    await running.ask(ADMIN, "GET", "/regions/admin")
    await running.ask(None, "GET", "/regions", status=401)
    await running.ask(ADMIN, "PATCH", "/made/up/by/a/caller", status=404)
    token = await running.token(ANN)
    answer = await running.http.get("/regions", headers={"authorization": f"Bearer {token['litellm_token']}"})
    assert answer.status_code == 401
    await running.dashboard.get("/auth/login")
    after = await samples(running)
    grown = {key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)}
    assert grown == {
        ("auth_requests_total", "/auth/login", "2xx"): 1,
        ("auth_requests_total", "/auth/login", "4xx"): 1,
        ("requests_by_user_type_total", "auth", "POST", "anonymous"): 2,
        ("requests_by_user_type_total", "regions", "GET", "key_creator"): 1,
        ("requests_by_user_type_total", "regions", "GET", "system_admin"): 1,
        ("requests_by_user_type_total", "regions", "GET", "anonymous"): 2,
        ("requests_by_user_type_total", "private-ai-keys", "POST", "key_creator"): 1,
        ("audit_events_total", "POST", "auth", "2xx"): 1,
        ("audit_events_total", "POST", "auth", "4xx"): 1,
        ("audit_events_total", "GET", "regions", "2xx"): 2,
        ("audit_events_total", "GET", "regions", "4xx"): 2,
        ("audit_events_total", "POST", "private-ai-keys", "2xx"): 1,
    }
    assert before["auth_requests_total", "/auth/token/{id}", "2xx"] == 1


async def test_how_long_the_job_of_the_teams_takes(running: Running) -> None:
    async def count() -> float:
        text = (await running.http.get("/metrics")).text
        return float(text.partition("monitor_teams_duration_seconds_count ")[2].partition("\n")[0] or 0)

    before = await count()
    with Metrics(running.gate.services.metrics).monitoring_teams():
        pass
    assert await count() > before
