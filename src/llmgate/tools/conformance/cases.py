"""The requests, as data: what clients of OpenAI's and Anthropic's APIs send, and what they get wrong.

They have the names of the captured answers in tests/data/captures. Output is bounded and sampled greedily, so
that a backend says the same thing twice as far as it can.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from ...errors import Header

MODEL = "the-model"
"""Stands in every body and path for the name of the model."""
JSON = ((b"content-type", b"application/json"),)


@dataclass(frozen=True, slots=True)
class Own:
    """The gate may answer such a request itself, with this status, and `why`."""

    status: int
    why: str


@dataclass(frozen=True, slots=True)
class Case:
    """One request. `chunked` sends its body without a length."""

    name: str
    method: str
    path: str
    body: bytes = b""
    headers: tuple[Header, ...] = ()
    chunked: bool = False
    own: Own | None = None

    def target(self, model: str) -> bytes:
        """The request target, for a backend that serves `model`."""
        return self.path.replace(MODEL, model).encode()

    def content(self, model: str) -> bytes:
        """The body, for a backend that serves `model`."""
        return self.body.replace(MODEL.encode(), msgspec.json.encode(model)[1:-1])


UNNAMED = Own(404, "no route names it")
ONE_READING = Own(400, "the gate reads what it counts in one way only, and refuses the rest")
DECODED = Own(200, "the gate decodes compressed requests, which few backends do")
FROM_THE_LIST = Own(200, "the gate answers it from the list of models, which not every backend does")

_SAY_HI = [{"role": "user", "content": "Say hi"}]
_TOO_LONG = [{"role": "user", "content": "word " * 10_000}]
_USAGE = {"include_usage": True}


def _post(name: str, path: str, **fields: Any) -> Case:
    return Case(name, "POST", path, msgspec.json.encode({"model": MODEL, **fields}), JSON)


def _chat(name: str, **fields: Any) -> Case:
    usual = {"messages": _SAY_HI, "max_tokens": 4, "temperature": 0, "seed": 1}
    return _post(name, "/v1/chat/completions", **{**usual, **fields})


def _text(name: str, **fields: Any) -> Case:
    usual = {"prompt": "Hello", "max_tokens": 4, "temperature": 0, "seed": 1}
    return _post(name, "/v1/completions", **{**usual, **fields})


def _raw(name: str, body: bytes, *headers: Header, own: Own | None = None, chunked: bool = False) -> Case:
    return Case(name, "POST", "/v1/chat/completions", body, headers or JSON, chunked, own)


_HI = _chat("").body


def _chats() -> Iterator[Case]:
    yield _chat("chat", max_tokens=8)
    yield _raw("chat_gzip_accept", _HI, *JSON, (b"accept-encoding", b"gzip, deflate, br, zstd"))
    yield _post(
        "chat_mct", "/v1/chat/completions", messages=_SAY_HI, max_completion_tokens=4, temperature=0, seed=1
    )
    yield _chat("chat_n2_logprobs", n=2, logprobs=True, top_logprobs=2)
    yield _chat("chat_options_without_stream", stream_options=_USAGE)
    yield _chat("chat_stream", stream=True, max_tokens=8)
    yield _chat("chat_stream_usage", stream=True, max_tokens=8, stream_options=_USAGE)
    yield _chat(
        "chat_stream_continuous", stream=True, stream_options={**_USAGE, "continuous_usage_stats": True}
    )
    yield _chat("chat_stream_options_null", stream=True, stream_options=None)
    yield _chat("chat_stream_usage_false", stream=True, stream_options={"include_usage": False})
    yield _chat("chat_stream_usage_n2", n=2, stream=True, stream_options=_USAGE)
    yield _raw("chunked_body", _HI, chunked=True)
    yield _raw("expect_100", _HI, *JSON, (b"expect", b"100-continue"))
    yield _raw("reqid", _HI, *JSON, (b"x-request-id", b"my-id-123"))


def _others() -> Iterator[Case]:
    yield _text("completions", max_tokens=8)
    yield _text("completions_echo", echo=True, logprobs=1)
    yield _text("completions_list_n", prompt=["Hello", "World"])
    yield _text("completions_tokens", prompt=[5, 6, 7, 8])
    yield _text("completions_stream", stream=True)
    yield _text("completions_stream_usage", stream=True, stream_options=_USAGE)
    yield _text(
        "completions_stream_list_usage", prompt=["Hello", "World"], stream=True, stream_options=_USAGE
    )
    yield _post("embeddings", "/v1/embeddings", input="Hello")
    yield _post("embeddings_list_b64", "/v1/embeddings", input=["Hello", "World"], encoding_format="base64")
    yield _post("responses", "/v1/responses", input="Say hi", max_output_tokens=16, temperature=0)
    yield _post(
        "responses_stream", "/v1/responses", input="Say hi", max_output_tokens=16, temperature=0, stream=True
    )
    yield _post("messages", "/v1/messages", messages=_SAY_HI, max_tokens=8, temperature=0)
    yield _post("messages_stream", "/v1/messages", messages=_SAY_HI, max_tokens=8, temperature=0, stream=True)
    yield _post("messages_count", "/v1/messages/count_tokens", messages=_SAY_HI)
    yield Case("models", "GET", "/v1/models")
    yield Case("head_models", "HEAD", "/v1/models")
    yield Case("model_retrieve", "GET", f"/v1/models/{MODEL}", own=FROM_THE_LIST)
    yield Case("model_retrieve_unknown", "GET", "/v1/models/nope", own=Own(404, FROM_THE_LIST.why))


def _mistakes() -> Iterator[Case]:
    yield _chat("err_bad_temperature", temperature=-5)
    yield _raw("err_ctype", _HI, (b"content-type", b"text/plain"))
    yield _raw("err_noctype", _HI, (b"accept", b"*/*"))
    yield _raw("err_dup_keys", b'{"model":"nope",' + _HI[1:], own=ONE_READING)
    yield _chat("err_empty_messages", messages=[])
    yield _raw("err_malformed_json", _HI[:40], own=ONE_READING)
    yield _raw("err_not_object", b"[1,2]", own=ONE_READING)
    yield _chat("err_max_tokens_huge", max_tokens=100_000)
    yield _post("err_missing_messages", "/v1/chat/completions")
    yield _raw("err_negative_max_tokens", _chat("", max_tokens=-5).body, own=ONE_READING)
    yield _chat("err_too_long", messages=_TOO_LONG)
    yield _chat("err_too_long_stream", messages=_TOO_LONG, stream=True)
    yield _chat("err_unknown_field", llmgate_unknown=1)
    yield _chat("err_unknown_model", model="nope")
    yield _chat("err_unknown_model_stream", model="nope", stream=True)
    yield _raw("err_utf8_bom", b"\xef\xbb\xbf" + _HI)
    yield _raw("err_wrong_type", _chat("", max_tokens="many").body, own=ONE_READING)
    yield _raw(
        "gzip_body",
        gzip.compress(_HI, mtime=0),
        *JSON,
        (b"content-encoding", b"gzip"),
        own=DECODED,
    )


def _doors() -> Iterator[Case]:
    yield Case("err_404", "GET", "/v1/nothing", own=UNNAMED)
    yield Case("err_405", "GET", "/v1/chat/completions", own=Own(405, "its route takes POST alone"))
    origin = ((b"origin", b"http://x"), (b"access-control-request-method", b"POST"))
    preflight = Own(405, "the gate lets no browser of another origin in")
    yield Case("options_cors", "OPTIONS", "/v1/chat/completions", headers=origin, own=preflight)
    for name, path in (("health", "/health"), ("version", "/version")):
        yield Case(name, "GET", path, own=UNNAMED)
    yield Case("metrics", "GET", "/metrics", own=Own(200, "the gate has metrics of its own"))
    for name, path, field in (
        ("tokenize", "/tokenize", {"prompt": "Hello", "content": "Hello"}),
        ("tokenize_chat", "/tokenize", {"messages": _SAY_HI}),
        ("detokenize", "/detokenize", {"tokens": [5, 6, 7]}),
    ):
        body = msgspec.json.encode({"model": MODEL, **field})
        yield Case(name, "POST", path, body, JSON, own=UNNAMED)


CASES = (*_chats(), *_others(), *_mistakes(), *_doors())
"""Every request, in the order in which they are sent."""
