"""Monitoring: numbers from the ledger, for those whom they belong to."""

import httpx
import pytest
from stores import Clock

from .conftest import API, HELLO, Ollama, key_of

CHAT = f"{API}/inference/chat"


async def test_usage_counts_what_the_caller_used(
    http: httpx.AsyncClient, admin: dict[str, str], user: dict[str, str], deployment: int, clock: Clock
) -> None:
    """In the days that were asked for, and nobody else's."""
    key = {"X-API-Key": await key_of(http, user)}
    await http.post(CHAT, headers=user, json=HELLO)
    clock.pass_by(3 * 3600)
    await http.post(CHAT, headers=user, json=HELLO)
    await http.post(CHAT, headers=admin, json=HELLO)
    answer = await http.get(f"{API}/monitoring/usage", headers=user, params={"days": 30})
    assert answer.json() == {
        "period_days": 30,
        "total_requests": 2,
        "total_tokens": 20,
        "input_tokens": 14,
        "output_tokens": 6,
        "by_model": [{"name": "llama2", "requests": 2, "tokens": 20}],
    }
    clock.pass_by(22 * 3600)
    one_day = (await http.get(f"{API}/monitoring/usage?days=1", headers=key)).json()
    assert (one_day["total_requests"], one_day["total_tokens"]) == (1, 10)


async def test_logs_are_the_latest_requests(
    http: httpx.AsyncClient, admin: dict[str, str], user: dict[str, str], deployment: int, clock: Clock
) -> None:
    """The caller's own, or everybody's for an admin; newest first, as many as were asked for."""
    for who in (user, admin, user):
        clock.pass_by(1)
        await http.post(CHAT, headers=who, json=HELLO)
    mine = (await http.get(f"{API}/monitoring/my-logs?limit=50", headers=user)).json()
    assert [entry["timestamp"][-2:] for entry in mine] == ["03", "01"]
    entry = mine[0]
    assert entry.pop("id")
    assert entry.pop("response_time_ms") >= 0
    assert entry == {
        "timestamp": "2027-01-15T08:00:03",
        "user_id": 2,
        "deployment_id": deployment,
        "model": "llama2",
        "endpoint": "chat",
        "status_code": 200,
        "outcome": "finished",
        "input_tokens": 7,
        "output_tokens": 3,
        "total_tokens": 10,
        "certainty": "exact",
    }
    everybodys = (await http.get(f"{API}/monitoring/logs?limit=2", headers=admin)).json()
    assert [entry["user_id"] for entry in everybodys] == [2, 1]


async def test_metrics_are_those_of_the_whole_gate(
    http: httpx.AsyncClient, admin: dict[str, str], user: dict[str, str], deployment: int, ollama: Ollama
) -> None:
    """Or of one deployment, also after it was deleted."""
    await http.post(CHAT, headers=user, json=HELLO)
    ollama.status, ollama.script = 500, b""
    await http.post(CHAT, headers=admin, json=HELLO)
    share = {"requests": 2, "tokens": 10}
    metrics = {
        "period_days": 7,
        "total_requests": 2,
        "failed_requests": 1,
        "total_tokens": 10,
        "input_tokens": 7,
        "output_tokens": 3,
        "by_model": [{"name": "llama2", **share}],
        "by_upstream": [{"name": f"deployment:{deployment}", **share}],
        "by_day": [{"name": "2027-01-15", **share}],
    }
    assert (await http.get(f"{API}/monitoring/metrics?days=7", headers=admin)).json() == metrics
    await http.delete(f"{API}/deployments/{deployment}", headers=admin)
    url = f"{API}/monitoring/deployments/{deployment}/metrics"
    assert (await http.get(url, headers=admin)).json() == metrics
    assert (await http.get(f"{API}/monitoring/deployments/9/metrics", headers=admin)).status_code == 404


@pytest.mark.parametrize("path", ["metrics", "logs", "deployments/1/metrics"])
async def test_what_is_everybodys_is_for_admins(
    http: httpx.AsyncClient, user: dict[str, str], path: str
) -> None:
    """403 for others."""
    assert (await http.get(f"{API}/monitoring/{path}", headers=user)).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "usage?days=0",
        "usage?days=x",
        "usage?days=99999",
        "my-logs?limit=0",
        "my-logs?limit=1001",
        "my-logs?limit=-1",
    ],
)
async def test_a_query_out_of_range_is_400(http: httpx.AsyncClient, user: dict[str, str], path: str) -> None:
    """With the name of the field."""
    answer = await http.get(f"{API}/monitoring/{path}", headers=user)
    assert (answer.status_code, list(answer.json())) == (400, ["detail"])
