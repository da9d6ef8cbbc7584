"""The prompts of a request: how many there are, and how long."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import Raw

from ..errors import BadRequest
from .endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

_NULL = Raw(b"null")
_NOTHING = frozenset({b"null", b"[]"})
_QUERIES = frozenset({"query", "queries", "text_1", "text_2", "data_1", "data_2"})
_prompts = msgspec.json.Decoder(list[Raw]).decode
_NUMBERS = frozenset(b"%d" % digit for digit in range(10)) | {b"-"}
_PROMPTS = frozenset({b"[", b"{"})
_ids = msgspec.json.Decoder(list[int | float | bool | None]).decode
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
    if _is_ids(raw):
        return ONE
    prompts = _prompts(raw)
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


def read_completion(fields: Mapping[str, Raw]) -> Prompts:
    """The prompts of a completions request; vLLM takes such as vectors, too, beside the others or alone."""
    prompts = read_prompts(fields.get("prompt"))
    vectors = fields.get("prompt_embeds", _NULL)
    if _first(vectors) == b"n":
        return prompts
    more = _prompts(vectors) if _first(vectors) == b"[" else [vectors]
    own = prompts.sizes if bytes(fields.get("prompt", _NULL)) not in _NOTHING else ()
    return Prompts((*own, *(0 for _ in more))) if own or more else ONE


class Sequences(NamedTuple):
    """How often a model reads, and how many bytes more than the body has it reads in all."""

    number: int = 1
    repeated: int = 0


def read_sequences(endpoint: Endpoint, fields: Mapping[str, Raw]) -> Sequences:
    """What embeddings, pooling and ranking make of their lists: each text is read by itself, or with each of another
    list; two lists that are as long are read in pairs. Servers call them differently (llama.cpp's takes `content`,
    too), so any list counts.
    """
    if endpoint is not Endpoint.RERANK:
        return Sequences(max([1, *map(_length, fields.values())]))
    found = [
        (_length(raw), len(memoryview(raw)))
        for name, raw in fields.items()
        if name in _QUERIES or _first(raw) == b"["
    ]
    lengths = {length for length, _ in found if length > 1}
    total = sum([size * (prod(lengths - {length})) for length, size in found])
    return Sequences(prod(lengths), total - sum([size for _, size in found]))


def _length(raw: Raw) -> int:
    """The texts in a list, of which one of tokens is one; of what is no list, one."""
    if _first(raw) != b"[":
        return 1
    return 1 if _is_ids(raw) else len(_prompts(raw))


def _is_ids(raw: Raw) -> bool:
    """Whether a list has no texts: of tokens there may be millions, and none is looked at by itself."""
    try:
        _ids(raw)
    except msgspec.MsgspecError:
        return False
    return True


def _first(raw: Raw) -> bytes:
    return bytes(memoryview(raw)[:1])
