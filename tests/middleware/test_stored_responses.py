"""What a backend has stored for one caller is not shown to another."""

import json

import pytest
from playbook import Answers, play

from llmgate.middleware import Models, StoredResponses


async def asked(method: str, path: str, **fields: object):
    app = Answers()
    body = json.dumps({"input": "hello", **fields}).encode() if method == "POST" else b""
    return await play(Models(StoredResponses(app)), method, path, body=body), app


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp_1/input_items"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/V1/Responses/resp_1"),
    ],
)
async def test_an_id_opens_nothing(method: str, path: str) -> None:
    told, app = await asked(method, path)
    assert (told.status, app.scopes) == (404, [])
    assert "GET /responses/{id}" in told.error["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input"),
    ],
)
async def test_nobody_goes_on_with_what_is_stored(fields: dict[str, object], param: str) -> None:
    told, app = await asked("POST", "/v1/responses", **fields)
    assert (told.status, told.error["param"], app.scopes) == (400, param, [])


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/"])
async def test_a_response_of_its_own_passes(path: str) -> None:
    told, _ = await asked("POST", path, previous_response_id=None, store=True)
    assert told.status == 200
    told, _ = await asked("POST", "/v1/chat/completions", previous_response_id="resp_1")
    assert told.status == 200
