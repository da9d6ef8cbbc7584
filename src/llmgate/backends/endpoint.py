"""Which API an operation of a backend belongs to."""

from __future__ import annotations

from enum import StrEnum


class Endpoint(StrEnum):
    """What kind of answer an API path gives, as far as counting is concerned."""

    __hash__ = str.__hash__  # that of other strings, which enums do not have

    CHAT = "chat"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    MESSAGES = "messages"
    RERANK = "rerank"
    POOLING = "pooling"
    AUDIO = "audio"
    OTHER = "other"
