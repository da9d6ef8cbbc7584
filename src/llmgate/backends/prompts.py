"""How many prompts a completions request has."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from ..errors import BadRequest

_prompts = msgspec.json.Decoder(list[Raw]).decode
_NUMBERS = frozenset(b"%d" % digit for digit in range(10)) | {b"-"}
_PROMPTS = frozenset({b"[", b"{"})
_token_ids = msgspec.json.Decoder(list[list[int]]).decode


def read_prompts(raw: Raw | None) -> tuple[int, tuple[int, ...]]:
    """How many prompts there are, and the tokens of each where they are ids.

    A list with numbers is one prompt of tokens (in llama.cpp with texts among them); any other is a batch, of strings,
    token lists or objects.
    """
    if raw is None or _first(raw) != b"[":
        return 1, ()
    prompts = _prompts(raw)
    if not prompts:
        return 1, ()
    kinds = {_first(prompt) for prompt in prompts}
    if not kinds.isdisjoint(_NUMBERS):
        if not kinds.isdisjoint(_PROMPTS):
            raise BadRequest("body.prompt: expected tokens, or a list of prompts, not both", param="prompt")
        return 1, ()
    if kinds != {b"["}:
        return len(prompts), ()
    try:
        return len(prompts), tuple(map(len, _token_ids(raw)))
    except msgspec.MsgspecError:
        return len(prompts), ()


def _first(raw: Raw) -> bytes:
    return bytes(memoryview(raw)[:1])
