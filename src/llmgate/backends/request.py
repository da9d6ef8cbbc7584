"""What a request asks for, as far as counting and limiting are concerned: sans-IO, decoded once."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import UNSET, Raw

from ..errors import BadRequest
from .endpoint import Endpoint
from .opaque import is_opaque

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_T = TypeVar("_T")

LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")
"""Fields that bound the output; `n_predict` is llama.cpp's own and overrules the others there."""
_COPIES = ("n", "best_of", "n_cmpl")
_MOST = 2**31
_KEY = re.compile(rb'[\s{,]*"([^"\\]*)"[\s:]*')
_END = re.compile(rb"[\s{}]*")
_BOM = b"\xef\xbb\xbf"
_ENDPOINTS = MappingProxyType(
    {
        "chat/completions": Endpoint.CHAT,
        "completions": Endpoint.COMPLETIONS,
        "embeddings": Endpoint.EMBEDDINGS,
        "responses": Endpoint.RESPONSES,
        "messages": Endpoint.MESSAGES,
        "rerank": Endpoint.RERANK,
        "score": Endpoint.RERANK,
        "pooling": Endpoint.POOLING,
        "classify": Endpoint.POOLING,
        "audio/transcriptions": Endpoint.AUDIO,
        "audio/translations": Endpoint.AUDIO,
        "audio/speech": Endpoint.AUDIO,
    }
)

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_TYPES = MappingProxyType(
    {
        bool: ("true or false", msgspec.json.Decoder(bool | None).decode),
        int: ("a whole number", msgspec.json.Decoder(int | None).decode),
        str: ("a string", msgspec.json.Decoder(str | None).decode),
        dict: ("an object", msgspec.json.Decoder(dict[str, Raw] | None).decode),
        list: ("a list", msgspec.json.Decoder(list[Raw] | None).decode),
    }
)


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a model.

    `choices` counts the answers asked for (copies times prompts), `prompts` the prompts of a completions
    list. `limits` are the bounds of the output that the body has, in tokens for each choice.

    `prompt_bound` is at least the number of prompt tokens: the bytes of the body. Every token stands for
    one byte or more of text, a token given as a number takes two bytes with its comma, and the JSON around
    a message (`{"role":"user","content":""}`, 28 bytes) outweighs the tokens that a chat template puts
    around it. Two things escape it: input that is not in the body or not text, which `opaque_input` tells,
    and a template that adds a long text of its own (an operator who serves such a model knows its length).

    `fields` are the members of the body, until it has gone upstream.
    """

    endpoint: Endpoint
    model: str | None
    stream: bool
    wants_usage: bool
    wants_continuous: bool
    choices: int
    prompts: int
    limits: dict[str, int]
    prompt_bound: int
    opaque_input: bool
    fields: dict[str, Raw]

    @property
    def max_output(self) -> int | None:
        """The smallest of the limits; None where there is none."""
        return min(self.limits.values(), default=None)


@lru_cache(256)
def endpoint_of(method: str, path: str) -> Endpoint:
    """The endpoint that `path` ends in, under any prefix. Only a POST makes a model work."""
    if method != "POST":
        return Endpoint.OTHER
    segments = path.rstrip("/").rsplit("/", 2)[-2:]
    return _ENDPOINTS.get("/".join(segments)) or _ENDPOINTS.get(segments[-1], Endpoint.OTHER)


def parse_request(endpoint: Endpoint | Callable[[dict[str, Raw]], Endpoint], body: bytes) -> ModelRequest:
    """What `body` asks `endpoint` for; a function tells it from the fields of the body, where no path does.

    Raises `BadRequest`, naming the place, if the body is no JSON object in UTF-8 without duplicate keys, or
    if a field that is counted or limited by has a type or size that backends could read in different ways.
    A byte order mark is accepted, as backends do. An audio upload is a form, not JSON: an opaque ask.
    """
    if endpoint is Endpoint.AUDIO and not body.lstrip(_BOM + b" \t\r\n").startswith(b"{"):
        return ModelRequest(
            endpoint=endpoint,
            model=None,
            stream=False,
            wants_usage=False,
            wants_continuous=False,
            choices=1,
            prompts=1,
            limits={},
            prompt_bound=len(body),
            opaque_input=True,
            fields={},
        )
    fields = read_fields(body)
    if not isinstance(endpoint, Endpoint):
        endpoint = endpoint(fields)
    if endpoint is Endpoint.RESPONSES and _get(fields, "background", bool):
        raise BadRequest(
            "body.background: a background response ends after its request does and could not be counted; "
            "leave it out or set it to false",
            param="background",
        )
    options = _get(fields, "stream_options", dict) or {}
    wants_usage = bool(_get(options, "include_usage", bool, "body.stream_options"))
    prompts = _count_prompts(fields) if endpoint is Endpoint.COMPLETIONS else 1
    return ModelRequest(
        endpoint=endpoint,
        model=_get(fields, "model", str),
        stream=bool(_get(fields, "stream", bool)),
        wants_usage=wants_usage,
        wants_continuous=wants_usage
        and bool(_get(options, "continuous_usage_stats", bool, "body.stream_options")),
        choices=max([1, *_numbers(fields, _COPIES).values()]) * prompts,
        prompts=prompts,
        limits=_numbers(fields, LIMITS),
        prompt_bound=len(body),
        opaque_input=is_opaque(endpoint, fields),
        fields=fields,
    )


def rewrite(model_request: ModelRequest, **changes: object) -> bytes:
    """The body of `model_request` with top-level fields set, or removed where the value is `msgspec.UNSET`.

    The values of all other fields keep their bytes. Raises `BadRequest` for a body that is not JSON.
    """
    if not model_request.fields:
        raise BadRequest("body: a form cannot be rewritten; name the model as the backend knows it")
    fields = {
        name: value for name, value in {**model_request.fields, **changes}.items() if value is not UNSET
    }
    return msgspec.json.encode(fields)


def read_fields(body: bytes) -> dict[str, Raw]:
    """The members of a JSON object, their values as they were written. Raises `BadRequest` like `parse_request`."""
    body = body.removeprefix(_BOM)
    try:
        if not body.isascii():
            body.decode()
        fields = _members(body)
    except UnicodeDecodeError as error:
        raise BadRequest(f"body: not UTF-8 at byte {error.start}") from error
    except msgspec.ValidationError as error:
        raise BadRequest("body: expected a JSON object") from error
    except msgspec.DecodeError as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        place = "" if "(byte" in reason else f" (byte {len(body)})"
        raise BadRequest(f"body: not JSON: {reason}{place}") from error
    except RecursionError as error:
        raise BadRequest("body: nested too deeply") from error
    _refuse_duplicates(body, fields)
    return fields


def _refuse_duplicates(body: bytes, fields: dict[str, Raw]) -> None:
    """Backends differ in which of two equal keys they obey, so a limit could be read here and escape there.

    Of two equal keys the last value is kept, in the place of the first. So a body that is its fields, one
    after the other, has no duplicates; only one that is not, because of one or of an escape, is parsed again.
    Clients that write no spaces between fields, as most do, are told by a comparison.
    """
    if msgspec.json.encode(fields) == body:
        return
    at = 0
    for name, value in fields.items():
        key = _KEY.match(body, at)
        if key is None or key[1] != name.encode() or not body.startswith(value, key.end()):
            break
        at = key.end() + len(memoryview(value))
    else:
        if _END.fullmatch(body, at):
            return
    keys = [key for key, _ in json.loads(body, object_pairs_hook=tuple)]
    for key in keys:
        if keys.count(key) > 1:
            raise BadRequest(f"body.{key}: given more than once", param=key)


def _get(fields: dict[str, Raw], name: str, kind: type[_T], place: str = "body") -> _T | None:
    """The field's value; null counts as absent, as it does for the backends."""
    raw = fields.get(name)
    if raw is None:
        return None
    expected, decode = _TYPES[kind]
    try:
        value: Any = decode(raw)
    except msgspec.MsgspecError as error:
        raise BadRequest(f"{place}.{name}: expected {expected}", param=name) from error
    return value  # type: ignore[no-any-return]


def _numbers(fields: dict[str, Raw], names: Iterable[str]) -> dict[str, int]:
    numbers = {}
    for name in names:
        if name in fields and (number := _get(fields, name, int)) is not None:
            if not 0 <= number <= _MOST:
                raise BadRequest(f"body.{name}: expected a whole number from 0 to {_MOST}", param=name)
            numbers[name] = number
    return numbers


def _count_prompts(fields: dict[str, Raw]) -> int:
    """A list of strings, or of token lists, is a batch; a list of numbers is one prompt."""
    prompt = bytes(fields.get("prompt", b""))
    if not prompt.startswith(b"[") or prompt[1:].lstrip()[:1] not in (b'"', b"["):
        return 1
    return len(_get(fields, "prompt", list) or ())
