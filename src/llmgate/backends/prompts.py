"""The prompts of a completions request: how many there are, and how long."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import Raw

from ..errors import BadRequest

_prompts = msgspec.json.Decoder(list[Raw]).decode
_NUMBERS = frozenset(b"%d" % digit for digit in range(10)) | {b"-"}
_PROMPTS = frozenset({b"[", b"{"})
_token_ids = msgspec.json.Decoder(list[list[int]]).decode


class Prompts(NamedTuple):
    """The bytes of each prompt as it is written, and the tokens of each where they are ids."""

    sizes: tuple[int, ...] = (0,)
    tokens: tuple[int, ...] = ()


def read_prompts(raw: Raw | None) -> Prompts:
    """The prompts of a completions request.

    A list with numbers is one prompt of tokens (in llama.cpp with texts among them); any other is a batch, of strings,
    token lists or objects.
    """
    if raw is None or _first(raw) != b"[":
        return ONE
    prompts = _prompts(raw)
    if not prompts:
        return ONE
    kinds = {_first(prompt) for prompt in prompts}
    if not kinds.isdisjoint(_NUMBERS):
        if not kinds.isdisjoint(_PROMPTS):
            raise BadRequest("body.prompt: expected tokens, or a list of prompts, not both", param="prompt")
        return ONE
    sizes = tuple([len(memoryview(prompt)) for prompt in prompts])
    if kinds != {b"["}:
        return Prompts(sizes)
    try:
        return Prompts(sizes, tuple(map(len, _token_ids(raw))))
    except msgspec.MsgspecError:
        return Prompts(sizes)


ONE = Prompts()
"""One prompt, whatever it is."""


def _first(raw: Raw) -> bytes:
    return bytes(memoryview(raw)[:1])
