"""Asking a backend how many tokens a prompt has, for requests whose byte bound does not fit a quota."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from ..errors import GateError, Unavailable
from .endpoint import Endpoint

if TYPE_CHECKING:
    from .dialect import Dialect
    from .request import ModelRequest
    from .upstream import Upstream

log = logging.getLogger("llmgate.proxy")

TIMEOUT = 2.0
_NO_INPUT = frozenset({"model", "stream_options", "stop", "stop_sequences", "user", "metadata", "logit_bias"})
"""Fields that no template shows to a model."""
_READ = frozenset({"role", "content"})
_messages = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_HAS_TEXT = frozenset({b'"', b"[", b"{"})


class _Counted(msgspec.Struct):
    """Answers of vLLM's `/tokenize` and of Anthropic's `/v1/messages/count_tokens`."""

    count: int | None = None
    input_tokens: int | None = None


def _not_now(upstream: str) -> Unavailable:
    return Unavailable(
        f'The prompt cannot be counted at the moment: the upstream "{upstream}" does not answer. Try again later.',
        headers=[(b"retry-after", b"1")],
    )


def _uncounted_bytes(model_request: ModelRequest, counted: tuple[str, ...]) -> int:
    """Bytes of the texts, lists and objects of a request that were not `counted`."""
    others = [
        raw for name, raw in model_request.fields.items() if name not in counted and name not in _NO_INPUT
    ]
    return sum([len(memoryview(raw)) for raw in others if bytes(memoryview(raw)[:1]) in _HAS_TEXT])


def _messages_of(model_request: ModelRequest) -> list[dict[str, Raw]] | None:
    try:
        return _messages(model_request.fields.get("messages", Raw(b"null")))
    except msgspec.MsgspecError:
        return None


def _beside_contents(model_request: ModelRequest) -> int:
    """Bytes of what the messages of a chat have beside their contents.

    What counts messages of Anthropic's API reads them so: calls of tools are elsewhere there, and might be left out.
    """
    messages = _messages_of(model_request) or ()
    others = [raw for each in messages for name, raw in each.items() if name not in _READ]
    return sum([len(memoryview(raw)) for raw in others])


class TokenCounter:
    """Counts prompts with the tokenizer of `upstream`, as far as its dialect has an endpoint for that."""

    def __init__(self, upstream: Upstream, dialect: Dialect) -> None:
        self._upstream = upstream
        self._dialect = dialect

    async def __call__(self, model_request: ModelRequest, model: str = "") -> int | None:
        """The tokens of the prompt for `model`, or the one that the request names, chat template included.

        What else of the request may get into the prompt (a suffix, documents, arguments of the template) and is not
        counted with it has no more tokens than bytes. None where the backend cannot or does not say. Raises
        `Unavailable` where it could, but not now.
        """
        path, names = self._endpoint(model_request)
        if path is None:
            return None
        replica = self._upstream.any_ready()
        if replica is None:
            raise _not_now(self._upstream.name)
        body: dict[str, object] = {
            name: model_request.fields[name] for name in names if name in model_request.fields
        }
        if model:
            body["model"] = model
        try:
            answer = await self._upstream.ask(replica, path, timeout=TIMEOUT, body=msgspec.json.encode(body))
        except GateError as error:
            log.warning("upstream %s could not count a prompt: %r", self._upstream.name, error)
            raise _not_now(self._upstream.name) from error
        if answer.status >= 500 or answer.status == 429:  # the same question may be answered in a moment
            log.warning("upstream %s could not count a prompt: %d", self._upstream.name, answer.status)
            raise _not_now(self._upstream.name)
        tokens = self._told(answer.body()) if answer.status < 300 else None
        if tokens is None:
            return None
        if model_request.endpoint is Endpoint.CHAT and path == self._dialect.count_path:
            tokens += _beside_contents(model_request)
        return tokens + _uncounted_bytes(model_request, names)

    def _told(self, body: bytes) -> int | None:
        try:
            counted = msgspec.json.decode(body, type=_Counted)
        except ValueError as error:
            log.warning("upstream %s could not count a prompt: %r", self._upstream.name, error)
            return None
        return counted.count if counted.count is not None else counted.input_tokens

    def _endpoint(self, model_request: ModelRequest) -> tuple[str | None, tuple[str, ...]]:
        dialect = self._dialect
        if model_request.endpoint is Endpoint.CHAT and dialect.tokenize_path is not None:
            return dialect.tokenize_path, ("model", "messages", "tools", "chat_template_kwargs")
        if (
            model_request.endpoint is Endpoint.COMPLETIONS
            and model_request.prompts == 1
            and bytes(model_request.fields.get("prompt", b""))[:1] == b'"'
        ):
            return dialect.tokenize_path, ("model", "prompt")
        if model_request.endpoint is Endpoint.CHAT and _messages_of(model_request) is not None:
            return dialect.count_path, ("model", "messages")
        if model_request.endpoint is Endpoint.MESSAGES:
            return dialect.count_path, ("model", "messages", "system", "tools")
        return None, ()
