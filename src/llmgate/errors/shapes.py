"""How a refusal looks on the wire: OpenAI's errors, Anthropic's, FastAPI's, or a surface's own."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from .refusals import Header, Refusal

Answer = tuple[int, list[Header], bytes]
"""A whole response: status, headers without content-length, body."""

ErrorShape = Callable[[Refusal], Answer]
"""Turns a refusal into the answer that a surface's guide shows."""


class OpenAIErrorFields(msgspec.Struct, frozen=True):
    """What went wrong: for people, as a class, in which field of the request, and for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(msgspec.Struct, frozen=True):
    """The error body of OpenAI's API."""

    error: OpenAIErrorFields


class Detail(msgspec.Struct, frozen=True):
    """The error body of FastAPI's applications."""

    detail: str


def openai_shape(refusal: Refusal) -> Answer:
    """A refusal as `OpenAIError`."""
    error = OpenAIErrorFields(refusal.message, refusal.type, refusal.param, refusal.answer_code)
    return json_answer(refusal, OpenAIError(error))


class AnthropicErrorFields(msgspec.Struct, frozen=True):
    """What went wrong, as a class and for people."""

    type: str
    message: str


class AnthropicError(msgspec.Struct, frozen=True):
    """The error body of Anthropic's API (https://docs.anthropic.com/en/api/errors)."""

    error: AnthropicErrorFields
    type: str = "error"


ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""Anthropic's classes of errors by status; others are `api_error`."""


def anthropic_shape(refusal: Refusal) -> Answer:
    """A refusal as `AnthropicError`."""
    kind = ANTHROPIC_TYPES.get(refusal.answer_status, "api_error")
    return json_answer(refusal, AnthropicError(AnthropicErrorFields(kind, refusal.message)))


_MESSAGES = re.compile(r"(?:.*/)?messages(?:/count_tokens|/batches(?:/.*)?)?/?", re.DOTALL)
"""Paths of Anthropic's API; OpenAI's threads have messages, too."""


def shape_for(shape: ErrorShape, path: str) -> ErrorShape:
    """The shape of errors at `path` of a route whose own is `shape`: Anthropic's where its API is asked."""
    is_anthropic = shape is openai_shape and _MESSAGES.fullmatch(path) and "/threads/" not in path
    return anthropic_shape if is_anthropic else shape


def detail_shape(refusal: Refusal) -> Answer:
    """A refusal as `Detail`."""
    return json_answer(refusal, Detail(refusal.message))


def json_answer(refusal: Refusal, body: object, *, status: int | None = None) -> Answer:
    """The answer with `body` as JSON, the refusal's own headers, and its status, or another one."""
    headers = [(b"content-type", b"application/json"), *refusal.headers]
    return refusal.answer_status if status is None else status, headers, msgspec.json.encode(body)
