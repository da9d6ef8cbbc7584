"""Meters of answers that are no event streams."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from .engine_time import engine_seconds, times_of
from .estimate import LONGEST_TOKENS, SILENT, believed, estimate, tokens_in, weigh
from .model import Certainty, Reading, Usage
from .report import (
    UNREADABLE,
    Usual,
    is_error,
    is_failure,
    lenient_members,
    members_of,
    raw_usage,
    report_of,
    string_of,
)
from .text import answer_bytes, body_text_bytes, choices_of, fragment_text_bytes

if TYPE_CHECKING:
    from msgspec import Raw

    from ..backends.dialect import Dialect
    from ..backends.request import ModelRequest
    from .report import Report
    from .text import Choice

_WHOLE = 1024 * 1024
_EDGE = 16 * 1024
_KEY = b'"usage"'
_SPACE = b" \t\r\n"
_OPENED = frozenset({b"{", b"["})
_MAX_KEYS = 32
"""Keys of the name that are looked at, each of which takes another look at 16 KiB."""


class FixedMeter:
    """For answers that use nothing (errors), or are not counted."""

    __slots__ = ("_reading",)
    model = None
    streams = strips = finished = failed = awaits_usage = False

    def __init__(self, reading: Reading | None) -> None:
        self._reading = reading

    def feed(self, data: bytes) -> bytes:
        """Nothing to note."""
        return data

    def end(self) -> bytes:
        """Nothing is held."""
        return b""

    def reading(self, finished: bool) -> Reading | None:
        """What was fixed from the start."""
        return self._reading


class BodyMeter:
    """Keeps an answer's body, or only both ends of one over 1 MiB, and reads its usage at the end.

    Usage stands at the tail (vllm/embed_apikey/embeddings.txt) or the head (llama_server/emb_single.txt).
    """

    __slots__ = (
        "_dialect",
        "_head",
        "_is_text",
        "_pieces",
        "_request",
        "_size",
        "_tail",
        "_text",
        "failed",
        "model",
        "streams",
    )
    strips = finished = False
    awaits_usage = True

    def __init__(
        self, dialect: Dialect, model_request: ModelRequest, *, is_text: bool, streams: bool = False
    ) -> None:
        self.streams = streams
        self.failed = False  # an error, under a status that says otherwise; known once it was read
        self.model: str | None = None
        self._dialect = dialect
        self._request = model_request
        self._is_text = is_text
        self._pieces: list[bytes] = []
        self._size = 0
        self._head = b""
        self._tail = b""
        self._text = 0  # bytes of it in an answer of which only the ends are kept

    def feed(self, data: bytes) -> bytes:
        """Takes note of `data` and gives it back."""
        self._size += len(data)
        if not self._is_text:
            if self._size > len(data) or data.lstrip(_SPACE)[:1] not in _OPENED:
                return data
            self._is_text = True  # JSON under another type (of a vendor's own, of bytes)
        if self._size <= _WHOLE:
            self._pieces.append(data)
        else:
            self._keep_ends(data)
        return data

    def end(self) -> bytes:
        """Nothing is held."""
        return b""

    def reading(self, finished: bool) -> Reading:
        """What the answer used; from a body that was cut, what its end or beginning still tells."""
        whole = b"".join(self._pieces)
        if (usual := _usual_reading(self._request, whole)) is not None:
            self.model, reading = usual
            return reading
        members = members_of(whole)
        if members is None and finished and self._pieces:
            members = lenient_members(whole)
        if members is not None:
            self.failed = is_error(members)
            self.model = string_of(members.get("model"))
            return body_reading(self._dialect, self._request, members)
        tail, head = self._tail or whole, self._head or whole
        report = _report_in_tail(tail) or _report_in_head(head)
        if report is not None:
            return self._of_ends(report, self._text or fragment_text_bytes(whole), finished=finished)
        # `null` is what vLLM's app answers when it hears that its client has left.
        text = self._size if self._is_text and whole != b"null" else 0
        generated = fragment_text_bytes(whole) if self._pieces or not text else text
        usage = estimate(self._request, text, finished=finished, generated_bytes=generated)
        return Reading(usage, Certainty.ESTIMATED)

    def _of_ends(self, report: Report, text: int, *, finished: bool) -> Reading:
        """By the report of an answer that is not there as a whole, and `text` bytes of what was generated."""
        request = self._request
        of_one = not self._dialect.sums_choices and request.choices > 1
        report = believed(report, request, 0 if of_one else text, finished=finished)
        guess = estimate(request, self._size, finished=finished)
        usage, known = weigh(report, guess, silent=request.endpoint in SILENT)
        if of_one:
            output_tokens = max(usage.output_tokens + request.choices - 1, tokens_in(text))
            usage = Usage(_all_prompts(request, usage.input_tokens)[0], output_tokens, usage.cached_tokens)
            known = False
        certainty = Certainty.EXACT if finished else Certainty.PARTIAL
        return Reading(usage, certainty if known else Certainty.ESTIMATED)

    def _keep_ends(self, data: bytes) -> None:
        if not self._head:
            data = b"".join([*self._pieces, data])
            self._pieces.clear()
            self._head = data[:_EDGE]
        self._text += fragment_text_bytes(data)
        self._tail = (self._tail + data[-_EDGE:])[-_EDGE:]


class _Choice(Struct, gc=False):
    """That there is one."""


class _Answer(Struct, gc=False):
    """A whole answer as nearly all are, as far as it matters: nothing else of it is decoded."""

    usage: Usual
    model: str | None = None
    error: None = None
    type: str | None = None
    choices: list[_Choice] | None = None
    metrics: Raw = Raw()
    timings: Raw = Raw()


_answer = msgspec.json.Decoder(_Answer).decode


def _usual_reading(model_request: ModelRequest, body: bytes) -> tuple[str | None, Reading] | None:
    """The model and what `body_reading` says of an answer of the usual shape, of one choice; None of any other."""
    try:
        answer = _answer(body)
    except UNREADABLE:
        return None
    usage = answer.usage.usage()
    if usage is None or usage.output_tokens * LONGEST_TOKENS < len(body):  # it may not be believed
        return None
    if answer.type is not None and is_failure(answer.type):
        return None
    if answer.choices is not None and len(answer.choices) > 1:
        return None
    times = answer.metrics or answer.timings
    seconds = engine_seconds(times) if times and model_request.choices == 1 else None
    return answer.model, Reading(usage, Certainty.EXACT, seconds)


def body_reading(dialect: Dialect, model_request: ModelRequest, members: dict[str, Raw]) -> Reading:
    """The reading of a whole JSON answer.

    Where the backend reports the first of several choices only (llama_server/chat_n2_logprobs.txt), the
    others are known if they too ran into `max_tokens`, and estimated from their text if not. The prompts of
    a batch are known where they came as token ids; else those after the first are estimated by their bytes
    (llama_server/completions_list_n.txt).
    """
    report = report_of(raw_usage(members))
    if report is None:
        if is_error(members):
            return Reading(Usage(0, 0), Certainty.PARTIAL)
        return Reading(estimate(model_request, body_text_bytes(members), finished=True), Certainty.ESTIMATED)
    text = None
    if not is_error(members):
        if (report.output or 0) * LONGEST_TOKENS < answer_bytes(members):
            text = body_text_bytes(members)
        of_one = not dialect.sums_choices and model_request.choices > 1
        report = believed(report, model_request, 0 if of_one else text or 0, finished=True)
    guess = Usage(0, 0)
    if report.input is None or report.output is None:
        guess = estimate(model_request, body_text_bytes(members) if text is None else text, finished=False)
    usage, known = weigh(report, guess, silent=model_request.endpoint in SILENT)
    choices = choices_of(members) if model_request.choices > 1 or not dialect.sums_choices else []
    if len(choices) > 1 and (not dialect.sums_choices or _is_the_firsts(usage, choices, model_request)):
        output_tokens = usage.output_tokens
        at_limit = choices[0].finish_reason == "length" and output_tokens == model_request.max_output
        for choice in choices[1:]:
            same = at_limit and choice.finish_reason == "length"
            output_tokens += (
                usage.output_tokens if same else _like(choices[0], usage.output_tokens, choice, model_request)
            )
            known = known and same
        input_tokens, all_known = _all_prompts(model_request, usage.input_tokens)
        known = known and all_known
        usage = Usage(input_tokens, output_tokens, usage.cached_tokens, usage.reasoning_tokens)
    seconds = engine_seconds(times_of(members)) if model_request.choices == 1 else None
    return Reading(usage, Certainty.EXACT if known else Certainty.ESTIMATED, seconds)


def _like(first: Choice, tokens: int, other: Choice, model_request: ModelRequest) -> int:
    """The tokens of `other`, whose text is taken to have as many for each byte as that of `first`, within the request's
    limit, or a quarter.
    """
    by_first = -(-tokens * other.text_bytes // first.text_bytes) if first.text_bytes else 0
    if (limits := model_request.limits.values()) and min(limits) > 0:
        by_first = min(by_first, max(limits))
    return max(1, tokens_in(other.text_bytes), by_first)


def _is_the_firsts(usage: Usage, choices: list[Choice], model_request: ModelRequest) -> bool:
    """Whether a count is that of the first choice, whatever the dialect says: all ran into the limit, and so did it."""
    at_limit = all(choice.finish_reason == "length" for choice in choices)
    return at_limit and usage.output_tokens == model_request.max_output


def _all_prompts(model_request: ModelRequest, first: int) -> tuple[int, bool]:
    """The tokens of all prompts, of which the backend has counted the first; whether they are known."""
    tokens, sizes = model_request.prompt_tokens, model_request.prompt_sizes
    if tokens and first == tokens[0]:
        return sum(tokens), True
    return first + sum([max(1, tokens_in(size)) for size in sizes[1:]]), len(sizes) < 2


def _report_in_tail(tail: bytes) -> Report | None:
    """What `usage` says at the end of a JSON object, or of a line of JSON: its own, of no object within."""
    at = tail.rfind(_KEY)
    for _ in range(_MAX_KEYS):
        if at < 0:
            break
        rest = tail[at:].strip(_SPACE)
        if (members := members_of(b"{" + rest)) is not None and (report := report_of(raw_usage(members))):
            return report
        at = tail.rfind(_KEY, 0, at)
    return None


def _report_in_head(head: bytes) -> Report | None:
    """The same at its beginning, of an answer of which no more is known."""
    at = head.find(_KEY)
    for _ in range(_MAX_KEYS):
        if at < 0:
            break
        if members_of(head[:at] + _KEY + b":null}") is not None:
            value = head[at + len(_KEY) :].lstrip(_SPACE + b":").decode("latin-1")
            try:
                found, _ = json.JSONDecoder().raw_decode(value)
            except (ValueError, RecursionError):
                return None
            return report_of(msgspec.json.encode(found))
        at = head.find(_KEY, at + 1)
    return None
