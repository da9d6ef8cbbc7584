"""Every code block of docs/guide/embedding.md runs, and each layer does alone what the page says of it."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from playbook import play
from starlette.types import ASGIApp, Message

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "embedding.md"
KEY = {"authorization": "Bearer sk-ann"}
CHAT = ("POST", "/v1/chat/completions")


@pytest.fixture
def page() -> dict[str, Any]:
    """The names that the page's blocks define, run one after the other."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, names)  # noqa: S102 - the page is ours
    return names


async def test_authentication_around_starlette(page: dict[str, Any]) -> None:
    app = page["starlette_app"]
    told = await play(app, headers=KEY)
    assert (told.status, told.body) == (200, b"Hello ann")
    assert (await play(app)).status == 401
    assert (await play(app, headers={"x-api-key": "sk-eve"})).status == 401


async def test_authentication_closes_a_websocket_of_starlette(page: dict[str, Any]) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "app": None}
    await page["starlette_app"](scope, None, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_rate_limits_around_fastapi(page: dict[str, Any]) -> None:
    app = page["fastapi_app"]
    first = await play(app, headers=KEY)
    assert (first.status, first.body) == (200, b'{"hello":"world"}')
    assert (first.header("x-ratelimit-limit"), first.header("x-ratelimit-remaining")) == ("2", "1")
    assert first.header("x-gate-request-id") == first.header("x-request-id")
    assert [(await play(app, headers=KEY)).status for _ in range(2)] == [200, 429]
    assert (await play(app)).status == 401


async def test_models_around_a_bare_app(page: dict[str, Any]) -> None:
    app = page["models_app"]
    told = await play(app, *CHAT, body=b'{"messages":[]}')
    assert told.body == b'{"messages":[],"model":"Qwen/Qwen3-0.6B"}'
    assert (await play(app, *CHAT, body=b'{"model":"large"}')).error["code"] == "model_not_found"
    assert (await play(app, "POST", "/else", body=b"unread")).body == b"unread"


async def test_metrics_around_a_bare_app(
    page: dict[str, Any], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    await play(page["measured_app"], body=b"x")
    told = await play(page["scrape_app"])
    assert b'llmgate_requests_total{model="-",route="-",status="2xx",upstream="-"} 1.0' in told.body


async def test_quota_and_accounting_around_a_bare_app(page: dict[str, Any], tmp_path: Path) -> None:
    async def model(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"content-type", b"application/json")]
        body = b'{"usage":{"prompt_tokens":5,"completion_tokens":395,"total_tokens":400}}'
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def use(app: ASGIApp) -> None:
        model_request = b'{"model":"small","max_tokens":395}'
        seen = [(await play(app, *CHAT, headers=KEY, body=model_request)).status for _ in range(4)]
        assert seen == [200, 200, 200, 429]

    run: Callable[..., Awaitable[None]] = page["with_quota"]
    await run(model, tmp_path / "gate.db", use)


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_every_layer_passes_on_what_it_does_not_serve(page: dict[str, Any], kind: str) -> None:
    """Or a framework below would never start, or lose its WebSockets; Authentication alone guards those."""
    from llmgate.middleware import Accounting, Errors, Metrics, Models, Quota, RateLimit, RequestId

    passed: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["type"])

    dialect = page["DIALECTS"]["openai"]
    layers: list[ASGIApp] = [
        Accounting(app, ledger=None, dialect=dialect),  # type: ignore[arg-type]
        Errors(app),
        Metrics(app, instruments=page["instruments"]),
        Models(app),
        Quota(app, ledger=None),  # type: ignore[arg-type]
        RateLimit(app, limits=[]),
        RequestId(app),
    ]
    for layer in layers:
        await layer({"type": kind}, None, None)  # type: ignore[arg-type]
    assert passed == [kind] * len(layers)
