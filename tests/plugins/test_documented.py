"""Generated requests to every operation of all surfaces: the gate answers as its own document says."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis.strategies import booleans
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from servers import serve
from starlette.types import Receive, Scope, Send

from llmgate.exchange import read_body

from .conftest import OpenGate, Running

beside_a_gate = pytest.mark.filterwarnings("ignore:Do not use the `random` module")
"""Requests are made up in a thread: what the gate draws meanwhile is taken for their strategy's."""

PREFIXES = {
    "llmgate_accounts": "/accounts",
    "llmgate_deployments": "/bku",
    "llmgate_leaky_tokens": "/leaky-tokens",
}
ADA = {"username": "ada", "password": "secure-password-1"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
CHAT = (
    b'{"object":"chat.completion","model":"m","choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],'
    b'"data":[{"id":"m"}],"usage":{"prompt_tokens":5,"completion_tokens":15,"total_tokens":20}}'
)
STREAM = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\ndata: [DONE]\n\n'
few = hypothesis.settings(
    max_examples=6,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


async def model(scope: Scope, receive: Receive, send: Send) -> None:
    """A backend that answers every chat, as a stream where it is asked for one."""
    body = await read_body(receive, 1 << 30)
    streams = b'"stream":true' in body
    kind, answer = (b"text/event-stream", STREAM) if streams else (b"application/json", CHAT)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": answer})


REACHABLE = ("host", "port", "is_active")
"""Fields by which all deployments stay the one backend: a guide has 500 for one that is out of reach."""


@pytest.fixture
async def running(open_all: OpenGate) -> AsyncIterator[Running]:
    """The gate of config/all.toml without its rate limits, so that more than 600 requests a minute arrive."""

    def change(document: dict[str, Any]) -> None:
        del document["limits"]
        document["plugins"]["llmgate_deployments"]["first_user_is_admin"] = True

    async with serve(model) as url, open_all(url, change) as running:
        yield running


async def known_things(http: httpx.AsyncClient, model: str) -> tuple[dict[str, str], dict[str, Any]]:
    """An admin's credential; and values that fields need for a request to come further than to 404."""
    bku, leaky = "/bku/api/v1", "/leaky-tokens/api/v1"
    await http.post(f"{bku}/auth/register", json=ADA)
    session = (await http.post(f"{leaky}/auth/login", json=ADA)).json()
    bearer = {"Authorization": f"Bearer {session['token']}"}
    host, _, port = model.removeprefix("http://").partition(":")
    deployment = {"name": "one", "host": host, "port": int(port)}
    made = await http.post(f"{bku}/deployments", headers=bearer, json=deployment)
    assert made.status_code == 201, made.text
    await http.post(f"{bku}/models", headers=bearer, json={"name": "one"})
    quota = {"userId": session["userId"], "provider": "paid", "totalTokens": 10_000}
    assert (await http.put(f"{leaky}/tokens/quota", headers=bearer, json=quota)).status_code == 200
    known = {"userId": session["userId"], "provider": "paid", "id": 1, "deployment_id": 1, "model": "m"}
    return bearer, {**known, "host": host, "port": int(port), "is_active": True}


def put_in(values: dict[str, Any], *parts: Any) -> None:
    """Give these values to the fields of a request that have the names."""
    for part in parts:
        if isinstance(part, dict):
            part |= {name: values[name] for name in part.keys() & values.keys()}


def misfits(
    operation: APIOperation, mode: GenerationMode, url: str, bearer: dict[str, str], known: dict[str, Any]
) -> list[str]:
    """What is wrong with the answers to generated requests, good ones or bad ones."""

    @few
    @hypothesis.given(case=operation.as_strategy(mode), there=booleans())
    def holds(case: schemathesis.Case, there: bool) -> None:
        if mode is GenerationMode.POSITIVE:
            put_in({name: known[name] for name in REACHABLE}, case.body)
            if there:
                put_in(known, case.path_parameters, case.query, case.body)
        case.call_and_validate(url, headers=bearer, checks=CHECKS)

    try:
        holds()
    except FailureGroup as found:
        return [f"{operation.label}: {found}"]
    except hypothesis.errors.Unsatisfiable:  # it takes nothing that could be wrong
        assert mode is GenerationMode.NEGATIVE
    return []


@beside_a_gate
@pytest.mark.parametrize("plugin", PREFIXES)
async def test_every_answer_is_as_documented(plugin: str, running: Running) -> None:
    """No 500, no status that is not declared, no body of another type; what does not fit the types is refused."""
    upstream = running.gate.services.upstreams["vllm"].state()[0].url
    bearer, known = await known_things(running.http, upstream)
    document = (await running.http.get("/openapi.json")).json()
    schema = schemathesis.openapi.from_dict(document).include(path_regex=f"^{PREFIXES[plugin]}/")
    operations = [result.ok() for result in schema.get_all_operations()]
    operations.sort(key=lambda operation: operation.method == "delete")  # what is there stays for the others
    assert {operation.label for operation in operations} == {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
        if path.startswith(f"{PREFIXES[plugin]}/")
    }

    def try_all() -> list[str]:
        return [
            wrong
            for operation in operations
            for mode in GenerationMode
            for wrong in misfits(operation, mode, running.url, bearer, known)
        ]

    assert await asyncio.to_thread(try_all) == []
