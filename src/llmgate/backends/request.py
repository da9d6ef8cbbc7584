"""What a request asks for, as far as counting and limiting are concerned: sans-IO, decoded once."""

from __future__ import annotations

import re
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar
from unicodedata import is_normalized

import msgspec
from msgspec import UNSET, Raw

from ..errors import BadRequest
from .endpoint import Endpoint
from .form import Form, is_form, read_form
from .json_body import meant_by, read_fields, refuse_look_alikes
from .opaque import CONVERSATIONS, ELSEWHERE, TEXTS, opaque_input
from .prompts import ONE, Sequences, read_completion, read_sequences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_T = TypeVar("_T")

LIMITS = (
    "max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict",
    "max_new_tokens", "num_predict", "max_gen_len", "max_tokens_to_sample",
)  # fmt: skip
"""Fields that bound the output; `n_predict` is llama.cpp's own and overrules the others there. The last four are those
of other APIs, which a server that speaks several may obey here, too."""
UNLIMITED = -1
"""How llama.cpp and LM Studio write that there is no limit."""
_COPIES = frozenset({"n", "best_of", "n_cmpl", "num_return_sequences", "candidate_count", "num_generations"})
_MOST = 2**31
_ASCII = bytes(range(128))
_MAX_LOOKED_AT = 4 * 1024 * 1024
_OPTIONS = frozenset({"include_usage", "continuous_usage_stats"})
_COUNTED = frozenset(
    {"model", "stream", "stream_options", "timings_per_token", "background", "tools", *LIMITS, *_COPIES}
    | CONVERSATIONS
    | TEXTS
    | ELSEWHERE
    | {"models", "fallbacks"}
)
"""Fields on which counting and limiting depend: nobody may read another for one of them."""
_READING = frozenset({Endpoint.EMBEDDINGS, Endpoint.POOLING, Endpoint.RERANK})
_CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})
_charset = re.compile(rb";\s*charset\s*=\s*[\"']?([^\"';\s]*)", re.IGNORECASE).findall
_FORM_FIELDS = frozenset({"model", "stream"})
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

_TYPES = MappingProxyType(
    {
        bool: ("true or false", msgspec.json.Decoder(bool | None).decode),
        int: ("a whole number", msgspec.json.Decoder(int | float | None).decode),
        str: ("a string", msgspec.json.Decoder(str | None).decode),
        dict: ("an object", msgspec.json.Decoder(dict[str, Raw] | None).decode),
    }
)


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a model.

    `choices` counts the answers that may be made (copies times prompts), `copies` those that are given of each
    prompt (`n`), `prompts` the prompts of a completions list, `prompt_sizes` the bytes of each, `prompt_tokens` the
    tokens of each where they are given as ids. `limits` are the bounds of the output that the body has, in tokens for
    each choice; `backends.output_limit` says what a dialect makes of them. `sequences` are the texts that a model
    reads one by one, each within its context: prompts, or what embeddings and ranking make of their lists.

    `prompt_bound` is at least the number of prompt tokens: the bytes of the body. Every token stands for
    one byte or more of text, a token given as a number takes two bytes with its comma, and the JSON around
    a message (`{"role":"user","content":""}`, 28 bytes) outweighs the tokens that a chat template puts
    around it. Two things escape it: input that is not in the body or not text, of which there are
    `opaque_parts`, and a template that adds a long text of its own (an operator who serves such a model knows
    its length). The bytes of an encoded image are no bound of its tokens and not among them.

    `echoes` says that the prompt may come back as text. `fields` are the members of the body, or `form` those of
    an upload, until it has gone upstream.
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
    opaque_parts: int
    fields: dict[str, Raw]
    wants_timings: bool = False
    echoes: bool = False
    form: Form | None = None
    prompt_tokens: tuple[int, ...] = ()
    prompt_sizes: tuple[int, ...] = (0,)
    sequences: int = 1
    copies: int = 1

    @property
    def max_output(self) -> int | None:
        """The smallest of the limits; None where there is none."""
        return min((number for number in self.limits.values() if number >= 0), default=None)

    def text_of(self, field: str) -> str | None:
        """A field of the body that counting does not need; None where there is none. Raises `BadRequest`."""
        return _get(self.fields, field, str)

    @property
    def opaque_input(self) -> bool:
        """Whether some of the input is no text in the body."""
        return self.opaque_parts > 0


@lru_cache(256)
def endpoint_of(method: str, path: str) -> Endpoint:
    """The endpoint that `path` ends in, under any prefix. Only a POST makes a model work.

    Some servers make no difference between cases, or between one slash and two, here or at the end.
    """
    if method != "POST":
        return Endpoint.OTHER
    segments = [segment for segment in path.lower().split("/") if segment][-2:] or [""]
    return _ENDPOINTS.get("/".join(segments)) or _ENDPOINTS.get(segments[-1], Endpoint.OTHER)


def parse_request(
    endpoint: Endpoint | Callable[[dict[str, Raw]], Endpoint], body: bytes, content_type: bytes = b""
) -> ModelRequest:
    """What `body` asks `endpoint` for; a function tells it from the fields of the body, where no path does.

    Raises `BadRequest`, naming the place, if the body is no JSON object in UTF-8 without duplicate keys (see
    `json_body`), or if a field that is counted or limited by has a name, type or size that backends could read
    in different ways. An upload of audio may be a form by its `content_type`.
    """
    if endpoint is Endpoint.AUDIO and is_form(content_type):
        return _parse_form(body, content_type)
    if content_type and any(name.lower() not in _CHARSETS for name in _charset(content_type)):
        raise BadRequest("Content-Type: JSON is UTF-8 (RFC 8259 8.1); leave the charset out", status=415)
    fields = read_fields(body)
    refuse_look_alikes(fields, _COUNTED)
    if "extra_body" in fields:
        _refuse_hidden(fields["extra_body"])
    if not isinstance(endpoint, Endpoint):
        endpoint = endpoint(fields)
    if endpoint is Endpoint.RESPONSES and _get(fields, "background", bool):
        raise BadRequest(
            "body.background: a background response ends after its request does and could not be counted; "
            "leave it out or set it to false",
            param="background",
        )
    wants_usage, wants_continuous = _read_options(fields)
    prompts = read_completion(fields) if endpoint is Endpoint.COMPLETIONS else ONE
    sequences = read_sequences(endpoint, fields) if endpoint in _READING else Sequences(len(prompts.sizes))
    opaque = opaque_input(fields)
    copies = {} if _COPIES.isdisjoint(fields) else _numbers(fields, _COPIES, 0)
    if endpoint is Endpoint.RESPONSES and (name := next((each for each in copies if copies[each] > 1), None)):
        raise BadRequest(f"body.{name}: a response is one answer; leave it out", param=name)
    return ModelRequest(
        endpoint=endpoint,
        model=_get(fields, "model", str),
        stream=bool(_get(fields, "stream", bool)),
        wants_usage=wants_usage,
        wants_continuous=wants_continuous,
        choices=max([1, *copies.values()]) * len(prompts.sizes),
        prompts=len(prompts.sizes),
        limits=_numbers(fields, LIMITS, UNLIMITED),
        prompt_bound=len(body) - opaque.bytes + _growth(body) + sequences.repeated,
        opaque_parts=opaque.parts + (endpoint is Endpoint.AUDIO and not _is_text(fields.get("input"))),
        fields=fields,
        wants_timings=bytes(fields.get("timings_per_token", b"")) == b"true",
        echoes="echo" in fields,
        prompt_tokens=prompts.tokens,
        prompt_sizes=prompts.sizes,
        sequences=sequences.number,
        copies=max(1, copies.get("n", 1), copies.get("n_cmpl", 1)),
    )


def rewrite(model_request: ModelRequest, body: bytes = b"", /, **changes: object) -> bytes:
    """The body of `model_request` with top-level fields set, or removed where the value is `msgspec.UNSET`.

    The values of all other fields keep their bytes. Of a form, `body`, only the model can be set.
    """
    if model_request.form is not None:
        model = changes.pop("model")
        assert not changes, "there is nothing else to change in a form"
        return model_request.form.with_value(body, "model", str(model))
    fields = {
        name: value for name, value in {**model_request.fields, **changes}.items() if value is not UNSET
    }
    return msgspec.json.encode(fields)


def _parse_form(body: bytes, content_type: bytes) -> ModelRequest:
    form = read_form(body, content_type, _FORM_FIELDS)
    stream = form.value(body, "stream") or ""
    return ModelRequest(
        endpoint=Endpoint.AUDIO,
        model=form.value(body, "model"),
        stream=stream.strip().lower() in ("true", "1", "on", "yes", "t", "y"),
        wants_usage=False,
        wants_continuous=False,
        choices=1,
        prompts=1,
        limits={},
        prompt_bound=form.text_bytes,
        opaque_parts=max(1, sum(field.is_file for field in form.fields)),  # a recording may be a link
        fields={},
        form=form,
    )


def _refuse_hidden(raw: Raw) -> None:
    """Raise `BadRequest` for what counts where some servers take it for members of the body.

    Those that call OpenAI's Python client with the fields they were sent do; Gemini has one of its own.
    """
    if bytes(raw) == b"null":
        return
    hidden = read_fields(bytes(raw), place="body.extra_body")
    for name in hidden:
        if (meant := meant_by(name, _COUNTED)) is not None:
            raise BadRequest(
                f"body.extra_body.{name}: write {meant} into the body itself", param="extra_body"
            )


def _is_text(raw: Raw | None) -> bool:
    return raw is not None and bytes(memoryview(raw)[:1]) == b'"'


def _growth(body: bytes) -> int:
    """Bytes that a text may have more once a tokenizer has normalized it, as Qwen's do by NFC: at the most three for
    one (U+1D160). A very long text is not looked at, and taken for one that grows.
    """
    if body.isascii():
        return 0
    if len(body) <= _MAX_LOOKED_AT and is_normalized("NFC", body.decode()):
        return 0
    return 2 * len(body.translate(None, _ASCII))


def _read_options(fields: dict[str, Raw]) -> tuple[bool, bool]:
    """Whether the client wants the final usage, and usage on every chunk, which needs the former."""
    if not _get(fields, "stream_options", dict):
        return False, False
    place = "body.stream_options"
    options = read_fields(bytes(fields["stream_options"]), place=place)
    refuse_look_alikes(options, _OPTIONS, place)
    wants_usage = bool(_get(options, "include_usage", bool, place))
    return wants_usage, wants_usage and bool(_get(options, "continuous_usage_stats", bool, place))


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


def _numbers(fields: dict[str, Raw], names: Iterable[str], least: int) -> dict[str, int]:
    """Whole numbers, as languages with one kind of number write them, too (100.0)."""
    numbers = {}
    for name in names:
        if name in fields and (number := _get(fields, name, int)) is not None:
            if number != number // 1:
                raise BadRequest(f"body.{name}: expected a whole number", param=name)
            if not least <= number <= _MOST:
                raise BadRequest(f"body.{name}: expected a whole number from 0 to {_MOST}", param=name)
            numbers[name] = int(number)
    return numbers
