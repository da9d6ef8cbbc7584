"""The AI providers: upstreams of gate.toml, asked for one chat completion at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

from llmgate.plugin.api import UpstreamFailed, UrlPath

from .words import ProviderFailed, ProviderUnavailable

if TYPE_CHECKING:
    from llmgate.plugin.api import AnyCall, Upstream

MAX_ANSWER_BYTES = 4 * 1024 * 1024
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
class Answer:
    """What a provider has said."""

    id: str
    text: str


class _Message(Struct):
    content: str | None = None


class _Choice(Struct):
    message: _Message


class _Chat(Struct):
    choices: Annotated[list[_Choice], Meta(min_length=1)]
    id: str = ""


class Completer:
    """Asks one provider, through the gate's upstream of the same name."""

    def __init__(self, upstream: Upstream, provider: Provider) -> None:
        self._upstream = upstream
        self._provider = provider

    async def complete(self, call: AnyCall, prompt: str, tokens: int) -> Answer:
        """The answer to `prompt`, of at most `tokens` tokens.

        Raises `ProviderUnavailable` where nobody can be asked now, `ProviderFailed` for everything else that
        is no answer, and `ClientGone`.
        """
        body = {
            "model": self._provider.model,
            "messages": [{"role": "user", "content": prompt}],
            self._upstream.dialect.chat_limits[0]: tokens,
        }
        try:
            answer = await self._upstream.complete(
                call.exchange, call.receive, self._provider.path, body, largest=MAX_ANSWER_BYTES
            )
        except UpstreamFailed as error:
            if error.answer_status == 503:
                raise ProviderUnavailable(self._upstream.name, error) from error
            raise ProviderFailed from error
        if answer.status != 200:
            raise ProviderFailed
        try:
            chat = msgspec.json.decode(answer.body, type=_Chat)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ProviderFailed from error
        return Answer(chat.id, chat.choices[0].message.content or "")
