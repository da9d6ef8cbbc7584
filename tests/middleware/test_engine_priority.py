"""The caller's class as vLLM's own priority, for the upstreams that ask for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playbook import Answers, play
from starlette.types import ASGIApp, Receive, Scope, Send

from llmgate.exchange import Principal, exchange_of
from llmgate.middleware import EnginePriority, Models
from llmgate.permissions import Permissions

URGENT = Principal(1, "ada", key_id=2, key_may=Permissions(priority=7))


async def sent(
    principal: Principal | None, *, path: str = "/v1/chat/completions", **fields: object
) -> dict[str, Any]:
    """What an upstream called `vllm` is sent."""
    app = Answers()

    def known(below: ASGIApp) -> ASGIApp:
        async def layer(scope: Scope, receive: Receive, send: Send) -> None:
            exchange_of(scope).principal, exchange_of(scope).upstream = principal, "vllm"
            await below(scope, receive, send)

        return layer

    stack = known(Models(EnginePriority(written(app), upstreams=["vllm"])))
    body = json.dumps({"model": "m", "messages": [], **fields}).encode()
    assert (await play(stack, "POST", path, body=body)).status == 200
    return json.loads(app.bodies[-1])  # type: ignore[no-any-return]


def written(app: ASGIApp) -> ASGIApp:
    """Stands for the relay, which writes what was collected."""

    async def relay(scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        body = exchange_of(scope).written(message["body"])

        async def once() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        await app(scope, once, send)

    relay.collects_edits = True  # type: ignore[attr-defined]
    return relay


async def test_the_highest_class_is_vllms_lowest_number() -> None:
    assert (await sent(URGENT))["priority"] == -7


@pytest.mark.parametrize("principal", [None, Principal(1, "bob"), URGENT])
async def test_nobody_puts_himself_first(principal: Principal | None) -> None:
    ours = None if principal is None or not principal.priority else -principal.priority
    assert (await sent(principal, priority=-1000)).get("priority") == ours


async def test_an_upstream_that_does_not_ask_for_it_gets_what_the_caller_wrote() -> None:
    app = Answers()
    body = json.dumps({"model": "m", "messages": [], "priority": 3}).encode()
    await play(
        Models(EnginePriority(written(app), upstreams=["other"])), "POST", "/v1/chat/completions", body=body
    )
    assert json.loads(app.bodies[-1])["priority"] == 3
