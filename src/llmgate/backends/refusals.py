"""What an error of a backend is about, where another model could do better."""

from __future__ import annotations

import re

TOO_LONG = frozenset({400, 413, 422, 500})
"""Statuses by which backends refuse a prompt that does not fit (llama.cpp's server of 2024: 500)."""
MAX_READ = 64 * 1024
"""Bytes of an error that are looked at."""
_SAYS_SO = re.compile(
    rb"context_length_exceeded|exceed_context_size|maximum context length|context (?:size|window|length)"
    rb"|(?:prompt|input|request)[^\"]{0,40} too long|reduce the length",
    re.IGNORECASE,
)


def is_too_long(status: int, body: bytes) -> bool:
    """Whether an error says that the prompt does not fit the model's context (captures: err_too_long)."""
    return status in TOO_LONG and _SAYS_SO.search(body, 0, MAX_READ) is not None
