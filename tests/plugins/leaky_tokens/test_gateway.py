"""The gateway: four ports, rate limit headers, errors in the guide's words, and the settings."""

from typing import Any

from plugins.leaky_tokens.conftest import OpenLeakyGate
from plugins.leaky_tokens.gate import Running

STATUS = "/api/v1/tokens/status"
QUOTA = "/api/v1/tokens/quota"


async def test_the_status_is_public(running: Running) -> None:
    answer = await running.http.get(STATUS)
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("version")
    assert body == {"service": "leaky-tokens", "status": "UP", "timestamp": "2026-02-05T12:00:00Z"}


async def test_a_bad_credential_is_refused_even_there(running: Running) -> None:
    answer = await running.http.get(STATUS, headers={"X-Api-Key": "leaky_x_y"})
    assert answer.status_code == 401
    assert answer.json().keys() == {"message", "timestamp"}


async def test_every_operation_is_on_all_four_ports(running: Running) -> None:
    assert sorted(running.ports) == [8080, 8081, 8082, 8083]
    account = await running.account()
    for url in running.ports.values():
        for path in (STATUS, "/oauth2/jwks", f"{QUOTA}?userId={account.uuid}&provider=openai"):
            answer = await running.http.get(url + path, headers=account.bearer)
            assert answer.status_code == 200


async def test_answers_tell_how_the_rate_limit_stands(running: Running) -> None:
    """120 requests in a minute at the gateway, by key or session; its services' own ports are not counted there."""
    account = await running.account()
    _, key = await running.services.identity.keys.create(account.id, "a")
    first = await running.http.get(STATUS, headers=account.bearer)
    behind = await running.http.get(running.ports[8083] + STATUS, headers=account.bearer)
    second = await running.http.get(STATUS, headers={"X-Api-Key": key})
    assert [answer.headers["x-ratelimit-limit"] for answer in (first, second)] == ["120", "120"]
    remaining = [int(answer.headers["x-ratelimit-remaining"]) for answer in (first, second)]
    assert remaining == [119, 118]
    assert behind.headers["x-ratelimit-limit"] == "600", "of an address"
    assert 0 < int(first.headers["x-ratelimit-reset"]) - running.clock.now <= 60


async def test_over_the_rate_limit_a_client_learns_when_to_come_back(open_gate: OpenLeakyGate) -> None:
    """In `waitSeconds`, where the guide's own client looks for it."""

    def few(document: dict[str, Any]) -> None:
        document["limits"][0]["requests"] = 2

    async with open_gate(few) as running:
        account = await running.account()
        answers = [await running.http.get(STATUS, headers=account.bearer) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        body = answers[2].json()
        assert body.keys() == {"message", "timestamp", "waitSeconds"}
        assert answers[2].headers["retry-after"] == str(body["waitSeconds"])
