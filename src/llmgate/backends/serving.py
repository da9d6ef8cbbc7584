"""What the layers above a relay have to know of the upstream that a request is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .dialect import DIALECTS, Dialect

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from .request import ModelRequest


class TokenCounter(Protocol):
    """Asks a backend how many tokens a prompt has."""

    def __call__(self, model_request: ModelRequest, model: str = "") -> Awaitable[int | None]:
        """The prompt's tokens for the model of this name; None where the backend cannot say."""


class ContextOf(Protocol):
    """Tells a model's context length."""

    def __call__(self, model: str) -> Awaitable[int | None]:
        """Tokens of prompt and answer together; None where it is not known."""

    def read(self, model: str) -> int | None:
        """The same as far as it was read. Raises `LookupError` where that is to be done first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """One upstream. `context_length` is what the operator says of it, `context` what it says itself, in tokens;
    `max_output_tokens` bounds the answer of a request that names no bound."""

    upstream: str = ""
    dialect: Dialect = DIALECTS["generic"]
    context_length: int | None = None
    context: ContextOf | None = None
    max_output_tokens: int | None = None
    count: TokenCounter | None = None

    async def context_of(self, model: str) -> int | None:
        """Tokens of prompt and answer together; None where it is not known."""
        if self.context_length is not None or self.context is None:
            return self.context_length
        return await self.context(model)

    def context_read(self, model: str) -> int | None:
        """The same without waiting. Raises `LookupError` where somebody has to be asked first."""
        if self.context_length is not None or self.context is None:
            return self.context_length
        return self.context.read(model)
