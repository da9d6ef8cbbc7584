"""What a key may not do where the guide has sessions: make or end credentials, or raise limits."""

import pytest

from plugins.leaky_tokens.gate import Running


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/auth/api-keys", {"name": "more"}),
        ("DELETE", "/api/v1/auth/api-keys", None),
        ("PUT", "/api/v1/tokens/quota", {"provider": "openai", "totalTokens": 10**9}),
    ],
)
async def test_it_wants_a_session(
    running: Running, method: str, path: str, body: dict[str, object] | None
) -> None:
    """A key that was stolen makes none that outlive it; 403, as it is good for other things."""
    account = await running.account(admin=True)
    _, secret = await running.services.identity.keys.create(account.id, "stolen")
    if body is not None:
        body = {"userId": account.uuid, **body}
    answer = await running.http.request(method, path, json=body, headers={"X-Api-Key": secret})
    assert answer.status_code == 403
    assert "session" in answer.json()["message"]


async def test_a_key_for_models_consumes_and_does_nothing_else(running: Running) -> None:
    account = await running.account()
    _, secret = await running.services.identity.keys.create(account.id, "app", scope="models")
    key = {"X-Api-Key": secret}
    order = {"userId": account.uuid, "provider": "openai", "tokens": 5, "prompt": "Hello"}
    assert (await running.http.post("/api/v1/tokens/consume", json=order, headers=key)).status_code == 200
    query = {"userId": account.uuid, "provider": "openai"}
    assert (await running.http.get("/api/v1/tokens/quota", params=query, headers=key)).status_code == 403
