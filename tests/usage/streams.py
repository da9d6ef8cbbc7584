"""Streams for the tests of meters: requests, events and chunks as backends send them."""

import json

from llmgate.backends.dialect import DIALECTS, Dialect
from llmgate.backends.endpoint import Endpoint
from llmgate.backends.request import ModelRequest, parse_request
from llmgate.usage.meter import meter_for
from llmgate.usage.model import Meter

VLLM, OPENAI, LLAMA = DIALECTS["vllm"], DIALECTS["openai"], DIALECTS["llama_server"]


def meter(dialect: Dialect = VLLM, endpoint: Endpoint = Endpoint.CHAT, **fields: object) -> Meter:
    model_request = ask_for(endpoint, **fields)
    return meter_for(dialect, model_request, status=200, content_type=b"text/event-stream")


def ask_for(endpoint: Endpoint, **fields: object) -> ModelRequest:
    return parse_request(endpoint, json.dumps({"stream": True, **fields}).encode())


def event(fields: object, separators: tuple[str, str] = (",", ":")) -> bytes:
    return b"data: " + json.dumps(fields, separators=separators).encode() + b"\n\n"


def chunk(index: int, text: str, made: int, taken: int = 7, finish: str | None = None) -> dict[str, object]:
    usage = {"prompt_tokens": taken, "total_tokens": taken + made, "completion_tokens": made}
    choice = {"index": index, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "x", "choices": [choice], "usage": usage}
