"""Chats: by session, by key and as a stream; which deployment answers; what the ledger has of it."""

import asyncio
from typing import Any

import httpx
import pytest

from llmgate.ledger import Allotment, Filter, Outcome, Subject, Unit
from plugins.conftest import Running

from .conftest import ADA, API, CHAT, HELLO, Ollama, OpenBku, add, key_of, log_in


async def test_a_chat_answers_with_content(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int, ollama: Ollama
) -> None:
    """And with what it used, as the model reported it."""
    answer = await http.post(CHAT, headers=user, json={**HELLO, "deployment_id": deployment})
    assert answer.status_code == 200
    assert answer.json() == {
        "content": "Hello there!",
        "model": "llama2",
        "deployment_id": deployment,
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        "created_at": "2027-01-15T08:00:00",
    }
    assert ollama.asked == [{"model": "llama2", "messages": HELLO["messages"]}]


async def test_a_chat_by_key_needs_the_key(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int
) -> None:
    """In X-API-Key; a session is no key."""
    key = {"X-API-Key": await key_of(http, user)}
    answer = await http.post(f"{CHAT}/api-key", headers=key, json={**HELLO, "deployment_id": None})
    assert (answer.status_code, answer.json()["content"]) == (200, "Hello there!")
    assert (await http.post(f"{CHAT}/api-key", headers=user, json=HELLO)).status_code == 401


async def test_options_reach_the_model_and_nothing_else_does(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int, ollama: Ollama
) -> None:
    """Neither credentials, cookies and unknown fields nor the query."""
    options = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 5}
    headers = {**user, "Cookie": "access_token=secret", "X-Private": "secret"}
    body = {**HELLO, **options, "tools": ["secret"], "n": 100}
    assert (await http.post(f"{CHAT}?secret=1", headers=headers, json=body)).status_code == 200
    [asked] = ollama.asked
    assert {name: asked[name] for name in options} == options
    assert asked.keys() <= {"model", "messages", "stream", *options}
    assert not any(b"secret" in value for value in ollama.came[0].values())


@pytest.mark.parametrize(
    "changed",
    [
        {"messages": []}, {"messages": "Hello"}, {"messages": [{"role": "user"}]}, {"model": ""}, {"model": None},
        {"messages": [{"role": "", "content": ""}]}, {"deployment_id": "1"}, {"deployment_id": 1.5},
        {"max_tokens": 0}, {"temperature": -1}, {"model": "x" * 1000}, {"top_p": 2},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("path", ["", "/stream"])
async def test_a_chat_that_cannot_be_read_is_400(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int, changed: dict[str, Any], path: str
) -> None:
    """And does not reach the deployment."""
    answer = await http.post(CHAT + path, headers=user, json={**HELLO, **changed})
    assert (answer.status_code, list(answer.json())) == (400, ["detail"])


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model": NaN}', b'{"model": "a", "model": "b"}'])
async def test_what_is_no_json_object_is_400(
    http: httpx.AsyncClient, user: dict[str, str], body: bytes
) -> None:
    """Nor is an object that says a thing twice."""
    assert (await http.post(CHAT, headers=user, content=body)).status_code == 400


# --- errors of the deployment


# --- streams


# --- limits and the ledger


@pytest.mark.parametrize("path", ["", "/stream"])
async def test_a_chat_is_in_the_ledger_exactly(
    running: Running, user: dict[str, str], deployment: int, path: str
) -> None:
    """One record, with the tokens that the model reported and the deployment's name."""
    await running.http.post(CHAT + path, headers=user, json=HELLO)
    [record] = await running.gate.services.reports.records(Filter())
    assert (record.input_tokens, record.output_tokens, record.certainty) == (7, 3, "exact")
    assert (record.upstream, record.endpoint, record.model) == (f"deployment:{deployment}", "chat", "llama2")
    assert (record.surface, record.user_id, record.outcome) == ("deployments", 2, Outcome.FINISHED)


async def test_a_spent_quota_is_402_and_says_not_to_retry(
    running: Running, user: dict[str, str], deployment: int, ollama: Ollama
) -> None:
    """Not 429: the guide's client would wait and try again."""
    await running.gate.services.quotas.set(Subject("user", 2), Allotment(Unit.TOKENS, 0), may_raise=True)
    for path in ("", "/stream"):
        answer = await running.http.post(CHAT + path, headers=user, json=HELLO)
        assert (answer.status_code, list(answer.json())) == (402, ["detail"])
        assert answer.headers["x-should-retry"] == "false"
    assert ollama.asked == []


async def test_a_quota_lowers_what_may_be_answered(
    running: Running, user: dict[str, str], deployment: int, ollama: Ollama
) -> None:
    """To what is left."""
    await running.gate.services.quotas.set(Subject("user", 2), Allotment(Unit.TOKENS, 200), may_raise=True)
    await running.http.post(CHAT, headers=user, json={**HELLO, "max_tokens": 1000})
    assert 0 < ollama.asked[0]["max_tokens"] < 200


async def test_too_many_requests_are_429(open_bku: OpenBku, ollama: Ollama) -> None:
    """With Retry-After, and the headers of the limit before that."""
    async with open_bku(limit=8) as running:
        admin = await log_in(running.http, ADA)
        await add(running.http, admin, ollama.url)
        first = await running.http.post(CHAT, headers=admin, json=HELLO)
        left = int(first.headers["x-ratelimit-remaining"])
        answers = await asyncio.gather(
            *(running.http.get(f"{API}/auth/me", headers=admin) for _ in range(left))
        )
        assert {answer.status_code for answer in answers} == {200}
        for path in ("", "/stream"):
            answer = await running.http.post(CHAT + path, headers=admin, json=HELLO)
            assert (answer.status_code, list(answer.json())) == (429, ["detail"])
            assert "retry-after" in answer.headers
