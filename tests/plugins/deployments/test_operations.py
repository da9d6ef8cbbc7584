"""The table of operations."""

import httpx

from .conftest import API

OPEN = {("POST", "/auth/register"), ("POST", "/auth/login")}


async def test_all_but_registering_and_logging_in_needs_a_credential(
    http: httpx.AsyncClient,
) -> None:
    """Every operation of the surface: without one, and with a bad one, 401."""
    from llmgate_deployments import operations as ops

    nothing = type("Nothing", (), {"__getattr__": lambda self, name: self})()
    table = [
        *ops.auth_operations(nothing),
        *ops.deployment_operations(nothing),
        *ops.inference_operations(lambda **_: None, nothing, route="x"),
        *ops.model_operations(nothing),
        *ops.monitoring_operations(nothing),
    ]
    assert len(table) == 28
    for operation in table:
        path = operation.path.replace("{id}", "1")
        if (operation.method, path.removeprefix(API)) in OPEN:
            continue
        for headers in ({}, {"Authorization": "Bearer nonsense"}, {"X-API-Key": "bku_nonsense"}):
            answer = await http.request(operation.method, path, headers=headers)
            assert answer.status_code == 401, (operation.method, path, headers)
            assert answer.json().keys() == {"detail"}
