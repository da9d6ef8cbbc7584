"""The AI providers: upstreams of gate.toml, asked for one chat completion at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from llmgate.plugin.api import (
    Endpoint,
    UpstreamError,
    UpstreamFailed,
    UpstreamRequest,
    UrlPath,
    meter_for,
    parse_request,
)

from .words import ProviderFailed, ProviderUnavailable

if TYPE_CHECKING:
    from llmgate.plugin.api import Dialect, Reading, Upstream

LARGEST = 4 * 1024 * 1024
"""Bytes of an answer; 10,000 tokens are far less."""


class Provider(Struct, frozen=True, kw_only=True):
    """A table `[plugins.llmgate_leaky_tokens.providers.NAME]`; NAME is an upstream of gate.toml."""

    model: Annotated[str, Meta(min_length=1, description="The model that answers, as the upstream knows it.")]
    path: Annotated[UrlPath, Meta(description="Where the upstream takes chat completions.")] = (
        "/v1/chat/completions"
    )
    starting_tokens: Annotated[
        Annotated[int, Meta(ge=0, le=2**53)] | None,
        Meta(description="Tokens that a new user starts with; without it, none and no quota."),
    ] = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A provider's answer, and what it used."""

    id: str
    text: str
    model: str
    reading: Reading


class _Message(Struct):
    content: str | None = None


class _Choice(Struct):
    message: _Message


class _Answer(Struct):
    choices: Annotated[list[_Choice], Meta(min_length=1)]
    id: str = ""
    model: str = ""


class Completer:
    """Asks one provider, through the gate's upstream of the same name."""

    def __init__(self, upstream: Upstream, provider: Provider, dialect: Dialect) -> None:
        self._upstream = upstream
        self._provider = provider
        self._dialect = dialect
        self._target = provider.path.encode("ascii")

    async def complete(self, prompt: str, tokens: int, request_id: str) -> Completion:
        """The answer to `prompt`, of at most `tokens` tokens.

        Raises `ProviderUnavailable` where nobody can be asked now, `ProviderFailed` for everything else that
        is no answer.
        """
        body = msgspec.json.encode(self._body(prompt, tokens))
        status, content_type, answer = await self._ask(body, request_id)
        if status != 200:
            raise ProviderFailed
        meter = meter_for(
            self._dialect, parse_request(Endpoint.CHAT, body), status=status, content_type=content_type
        )
        meter.feed(answer)
        meter.end()
        reading = meter.reading(finished=True)
        try:
            read = msgspec.json.decode(answer, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ProviderFailed from error
        assert reading is not None, "a chat is counted"
        return Completion(
            read.id, read.choices[0].message.content or "", read.model or self._provider.model, reading
        )

    def _body(self, prompt: str, tokens: int) -> dict[str, Any]:
        return {
            "model": self._provider.model,
            "messages": [{"role": "user", "content": prompt}],
            self._dialect.chat_limits[0]: tokens,
        }

    async def _ask(self, body: bytes, request_id: str) -> tuple[int, bytes | None, bytes]:
        """Status, content type and body of the answer."""
        headers = [
            (b"content-type", b"application/json"),
            (b"accept", b"application/json"),
            (b"x-request-id", request_id.encode("ascii")),
        ]
        if self._upstream.authorization is not None:
            headers.append((b"authorization", self._upstream.authorization))
        try:
            lease = await self._upstream.send(UpstreamRequest("POST", self._target, headers, body))
        except UpstreamFailed as error:
            if error.answer_status == 503:
                raise ProviderUnavailable(self._upstream.name, error) from error
            raise ProviderFailed from error
        try:
            response, pieces, size = lease.response, [], 0
            while piece := await response.read():
                pieces.append(piece)
                size += len(piece)
                if size > LARGEST:
                    raise ProviderFailed
        except UpstreamError as error:
            raise ProviderFailed from error
        finally:
            lease.close()
        kind = next((value for name, value in response.headers if name.lower() == b"content-type"), None)
        return response.status, kind, b"".join(pieces)
