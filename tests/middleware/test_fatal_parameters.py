"""What would end an engine that serves adapters does not reach it."""

import json

import pytest
from playbook import Answers, play

from llmgate.middleware import FatalParameters, Models


async def asked(**fields: object):
    app = Answers()
    body = json.dumps({"prompt": "hello", **fields}).encode()
    return await play(Models(FatalParameters(app)), "POST", "/v1/completions", body=body), app


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt_logprobs": 0}, "prompt_logprobs"),
        ({"prompt_logprobs": 5, "stream": True}, "prompt_logprobs"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"echo": True, "logprobs": 0}, "echo"),
    ],
)
async def test_it_is_refused(fields: dict[str, object], param: str) -> None:
    told, app = await asked(**fields)
    assert (told.status, told.error["param"], app.scopes) == (400, param, [])


@pytest.mark.parametrize(
    "fields",
    [{}, {"prompt_logprobs": None}, {"echo": True}, {"logprobs": 1}, {"echo": False, "logprobs": 1}],
)
async def test_what_does_no_harm_passes(fields: dict[str, object]) -> None:
    told, app = await asked(**fields)
    assert told.status == 200
    assert len(app.scopes) == 1
