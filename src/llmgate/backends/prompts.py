"""How many prompts a completions request has."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from ..errors import BadRequest

_prompts = msgspec.json.Decoder(list[Raw]).decode
_token_ids = msgspec.json.Decoder(list[list[int]]).decode


def read_prompts(raw: Raw | None) -> tuple[int, tuple[int, ...]]:
    """How many prompts there are, and the tokens of each where they are ids.

    A list whose first item is a number is one prompt of tokens (in llama.cpp with texts among them); any other
    is a batch, of strings, token lists or objects.
    """
    if raw is None or _first(raw) != b"[":
        return 1, ()
    prompts = _prompts(raw)
    if not prompts:
        return 1, ()
    first = _first(prompts[0])
    if first.isdigit():
        if any(_first(prompt) in (b"[", b"{") for prompt in prompts):
            raise BadRequest("body.prompt: expected tokens, or a list of prompts, not both", param="prompt")
        return 1, ()
    if first != b"[":
        return len(prompts), ()
    try:
        return len(prompts), tuple(map(len, _token_ids(raw)))
    except msgspec.MsgspecError:
        return len(prompts), ()


def _first(raw: Raw) -> bytes:
    return bytes(memoryview(raw)[:1])
