"""Which API an operation of a backend belongs to."""

from __future__ import annotations

from ..words import Words


class Endpoint(Words):
    """What kind of answer an API path gives, as far as counting is concerned."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    MESSAGES = "messages"
    RERANK = "rerank"
    POOLING = "pooling"
    AUDIO = "audio"
    OTHER = "other"
