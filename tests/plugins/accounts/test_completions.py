"""Step 3 of the guide: prompts and chats to the model, and its answers back."""

from typing import Any

import httpx
import pytest
from servers import refused_url

from llmgate.ledger import Filter
from plugins.accounts import PROMPT, at, http, log_in, running, upstream, used
from plugins.conftest import Model, OpenGate, Running

__all__ = ["http", "running", "upstream"]


async def test_a_prompt_is_completed_byte_for_byte(http: httpx.AsyncClient, model: Model) -> None:
    """Step 3 of the guide: to /v1/completions with the route's model, without the caller's credential."""
    model.answer = (
        b'{ "id":"cmpl-123", "choices":[],\n"usage":{"prompt_tokens":5,"completion_tokens":15}, "x":1e400 }'
    )
    answer = await http.post("/chat/completions", json=PROMPT, headers=await log_in(http))
    assert answer.status_code == 200
    assert answer.content == model.answer
    path, headers, _ = model.requests[-1]
    assert path == "/v1/completions"
    assert b"authorization" not in headers
    assert model.asked == {**PROMPT, "model": "your-model"}


async def test_messages_go_to_the_chat(http: httpx.AsyncClient, model: Model) -> None:
    """With the model that the request names."""
    body = {"model": "other", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
    answer = await http.post("/chat/completions", json=body, headers=await log_in(http))
    assert answer.status_code == 200
    assert model.requests[-1][0] == "/v1/chat/completions"
    assert model.asked == body


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"prompt": null}',
        b'{"prompt": "Hi", "messages": []}',
        b'{"prompt": "Hi", "max_tokens": 1, "max_tokens": 9}',
        b'{"prompt": "Hi", "max_tokens": NaN}',
        b'{"prompt": "Hi", "max_tokens": "x"}',
        b'{"prompt": {}}',
        b'{"messages": 1}',
        b'"prompt"',
        b"",
    ],
)
async def test_a_completion_that_cannot_be_read_is_400(
    http: httpx.AsyncClient, model: Model, body: bytes
) -> None:
    """And does not reach the model."""
    answer = await http.post("/chat/completions", content=body, headers=await log_in(http))
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("body")
    assert not model.requests


async def test_a_null_is_a_field_not_given(http: httpx.AsyncClient, model: Model) -> None:
    """As it is for the backends."""
    body = {"prompt": "Hi", "messages": None, "max_tokens": 5}
    await http.post("/chat/completions", json=body, headers=await log_in(http))
    assert model.requests[-1][0] == "/v1/completions"


async def test_a_body_over_the_gates_limit_is_413(open_config: OpenGate, upstream: str, model: Model) -> None:
    """`[gate] max_body` holds here too."""

    def change(document: dict[str, Any]) -> None:
        at(upstream)(document)
        document["gate"]["max_body"] = 1000

    async with open_config("accounts.toml", change) as running:
        bearer = await log_in(running.http)
        answer = await running.http.post("/chat/completions", json={"prompt": "x" * 1000}, headers=bearer)
        assert (answer.status_code, answer.json().keys()) == (413, {"detail"})
        assert not model.requests


async def test_the_models_own_errors_pass_untouched_and_cost_nothing(
    http: httpx.AsyncClient, model: Model
) -> None:
    """They are the model's to explain."""
    model.status, model.answer = 400, b'{"object":"error","message":"no","type":"BadRequestError","code":400}'
    bearer = await log_in(http)
    answer = await http.post("/chat/completions", json=PROMPT, headers=bearer)
    assert (answer.status_code, answer.content) == (400, model.answer)
    assert (await used(http, bearer))["tokens_used"] == 0


async def test_a_model_that_is_away_is_502(open_config: OpenGate) -> None:
    """Also once the gate has stopped trying, where other routes say 503."""
    async with open_config("accounts.toml", at(await refused_url())) as running:
        bearer = await log_in(running.http)
        for _ in range(7):  # the breaker opens after five
            answer = await running.http.post("/chat/completions", json=PROMPT, headers=bearer)
            assert (answer.status_code, answer.json().keys()) == (502, {"detail"})
        assert (await used(running.http, bearer))["tokens_used"] == 0


async def test_the_openai_routes_take_tokens_and_keys(running: Running, model: Model) -> None:
    """`/v1/models`, `/v1/chat/completions` and `/v1/completions` spend the same token limit."""
    bearer = await log_in(running.http)
    _, secret = await running.gate.services.identity.keys.create(1, "laptop")
    chat = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
    for headers in (bearer, {"Authorization": f"Bearer {secret}"}, {"X-API-Key": secret}):
        for path, body in (
            ("/v1/completions", PROMPT),
            ("/v1/chat/completions", chat),
            ("/chat/completions", chat),
        ):
            assert (await running.http.post(path, json=body, headers=headers)).status_code == 200
        assert (await running.http.get("/v1/models", headers=headers)).content == model.answer
    assert (await used(running.http, bearer))["tokens_used"] == 9 * 20
    refused = await running.http.post("/v1/completions", json=PROMPT)
    assert (refused.status_code, refused.json().keys()) == (401, {"error"})


async def test_records_tell_the_surface_from_the_route(running: Running) -> None:
    """What came in by the guide's path is told apart in reports; errors never name a password."""
    bearer = await log_in(running.http)
    await running.http.post("/chat/completions", json=PROMPT, headers=bearer)
    await running.http.post("/v1/completions", json=PROMPT, headers=bearer)
    records = await running.gate.services.reports.records(Filter(user_id=1))
    assert {(record.surface, record.endpoint) for record in records} == {
        ("accounts", "completions"),
        ("", "completions"),
    }
