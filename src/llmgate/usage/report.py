"""Usage as backends report it: where it stands, under which names, and what can be read of it.

Vendors differ, so places and names are data (`vendors`). A number that is none (a fraction, a negative one, one
beyond all answers) counts as not reported, and says nothing about the numbers beside it.

"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from .model import Usage
from .vendors import (
    CACHED,
    INPUT,
    INPUT_DETAILS,
    LEFT_OUT,
    NESTED,
    OUTPUT,
    OUTPUT_DETAILS,
    PLACE_NAMES,
    PLACES,
    REASONING,
    SUMS,
    TOTAL,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NULL = b"null"
NO_CHOICES = b"[]"
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)
_FAILURES = frozenset({"error", "response.failed"})
_RAW_FAILURES = frozenset({b'"error"', b'"response.failed"'})
_MAX_TOKENS = 2**40
"""More tokens than any answer has: a backend that reports them reports nothing."""
_NOTHING = frozenset({NULL, b"{}"})


class Report(Struct, frozen=True):
    """What a backend has said of the tokens of one answer; None where it has not.

    `undivided`: `input` is that of both, as a total is all that was told. `guessed`: a part of it is our guess.
    """

    input: int | None = None
    output: int | None = None
    cached: int = 0
    reasoning: int = 0
    undivided: bool = False
    guessed: bool = False

    def usage(self, *, input_tokens: int, output_tokens: int) -> Usage:
        """With what is known otherwise in the place of what was not reported."""
        if self.input is not None:
            input_tokens = self.input
        if self.output is not None:
            output_tokens = self.output
        cached, reasoning = min(self.cached, input_tokens), min(self.reasoning, output_tokens)
        return Usage(input_tokens, output_tokens, cached, reasoning)


class _UsualDetails(Struct, gc=False):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class Usual(Struct, gc=False):
    """Usage as nearly all backends write it, which is read in one step."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _UsualDetails | None = None
    completion_tokens_details: _UsualDetails | None = None
    cached_tokens: UnsetType = UNSET
    cache_read_input_tokens: UnsetType = UNSET
    prompt_cache_hit_tokens: UnsetType = UNSET
    reasoning_tokens: UnsetType = UNSET
    tokens: UnsetType = UNSET
    billed_units: UnsetType = UNSET
    """Another place of a number: it is read number by number then."""

    def report(self) -> Report | None:
        """What it says; None if it has to be read number by number."""
        input_tokens, output_tokens = self.prompt_tokens, self.completion_tokens
        cached = (self.prompt_tokens_details or _NO_DETAILS).cached_tokens
        reasoning = (self.completion_tokens_details or _NO_DETAILS).reasoning_tokens
        if cached is None or reasoning is None:
            return None
        in_bounds = 0 <= input_tokens <= _MAX_TOKENS and 0 <= output_tokens <= _MAX_TOKENS
        if not in_bounds or self.total_tokens != input_tokens + output_tokens:
            return None
        if cached < 0 or reasoning < 0:
            return None
        return Report(input_tokens, output_tokens, cached, reasoning)

    def usage(self) -> Usage | None:
        """What it says where there is no doubt of it; None otherwise."""
        input_tokens, output_tokens = self.prompt_tokens, self.completion_tokens
        if (
            self.prompt_tokens_details is self.completion_tokens_details is None
            and input_tokens > 0 < output_tokens
            and input_tokens + output_tokens == self.total_tokens < _MAX_TOKENS
        ):
            return Usage(input_tokens, output_tokens)
        report = self.report()
        if report is None or not report.input or not report.output:
            return None
        return report.usage(input_tokens=0, output_tokens=0)


class _Choice(Struct, gc=False):
    usage: Raw = Raw(NULL)


_members = msgspec.json.Decoder(dict[str, Raw]).decode
_usual = msgspec.json.Decoder(Usual).decode
_NO_DETAILS = _UsualDetails(0, 0)
_number = msgspec.json.Decoder(int | float | str | None).decode
_string = msgspec.json.Decoder(str).decode
_choices = msgspec.json.Decoder(list[_Choice]).decode


def members_of(data: bytes | Raw | None) -> dict[str, Raw] | None:
    """The members of a JSON object, their values undecoded; None if `data` is anything else (`null`, say)."""
    if data is None:
        return None
    try:
        return _members(data)
    except UNREADABLE:
        return None


def lenient_members(data: bytes) -> dict[str, Raw] | None:
    """The same of what is JSON to some alone: Python's writes NaN and Infinity, which logprobs may be; None if it is
    none to them either."""
    try:
        value = json.loads(data)
        return members_of(msgspec.json.encode(value)) if isinstance(value, dict) else None
    except (ValueError, RecursionError):
        return None


def is_error(members: dict[str, Raw]) -> bool:
    """Whether an event or a body says that the backend gave up."""
    if "error" in members:
        return bytes(members["error"]) != NULL
    return "type" in members and bytes(members["type"]) in _RAW_FAILURES


def is_failure(kind: str) -> bool:
    """Whether the `type` of an event or a body says that the backend gave up."""
    return kind in _FAILURES


def raw_usage(members: dict[str, Raw]) -> Raw | None:
    """What a chunk or a body says of its usage, wherever its vendor puts that; None if nothing."""
    usage = members.get("usage")
    if usage is not None and bytes(usage) not in _NOTHING:
        return usage
    if not PLACE_NAMES.isdisjoint(members):
        for place in PLACES:
            found = _at(members, place)
            if found is not None and report_of(found) is not None:
                return found
    choices = members.get("choices")
    if choices is not None and b'"usage"' in bytes(choices):  # Moonshot: in the last chunk's choice
        try:
            return next((choice.usage for choice in _choices(choices) if bytes(choice.usage) != NULL), None)
        except UNREADABLE:
            return None
    return None


def report_of(raw: Raw | bytes | dict[str, Raw] | None) -> Report | None:
    """A usage object in the gate's words; None if it counts no tokens (null, or seconds of audio)."""
    if raw is not None and not isinstance(raw, dict):
        try:
            if (report := _usual(raw).report()) is not None:
                return report
        except UNREADABLE:
            pass  # read number by number
    members = raw if isinstance(raw, dict) else members_of(raw)
    if not members:
        return None
    for name in NESTED:
        if name in members and (report := report_of(members[name])) is not None:
            return report
    input_tokens, output_tokens = _input(members), _first(members, OUTPUT)
    undivided = input_tokens is None and output_tokens is None
    if (total := _first(members, TOTAL)) is not None:
        input_tokens, output_tokens = _completed(input_tokens, output_tokens, total)
    if input_tokens is None and output_tokens is None:
        return None
    return Report(
        input_tokens,
        output_tokens,
        _in_details(members, INPUT_DETAILS, CACHED),
        _in_details(members, OUTPUT_DETAILS, REASONING),
        undivided,
    )


def string_of(raw: Raw | None) -> str | None:
    """A JSON string's value; None for anything else."""
    try:
        return None if raw is None else _string(raw)
    except UNREADABLE:
        return None


def number_of(raw: Raw | None) -> int | None:
    """A count of tokens: 11, 11.0 or "11"; None for anything else."""
    if raw is None:
        return None
    text = bytes(raw)
    if text.isdigit() and len(text) < 13:
        return int(text)
    try:
        value = _number(raw)
        if isinstance(value, str):
            value = int(value) if value.isascii() and value.isdigit() else None
    except UNREADABLE:
        return None
    return int(value) if value is not None and 0 <= value <= _MAX_TOKENS and value % 1 == 0 else None


def _at(members: dict[str, Raw], place: tuple[str, ...]) -> Raw | None:
    found: dict[str, Raw] | None = members
    for name in place[:-1]:
        found = members_of((found or {}).get(name))
    raw = (found or {}).get(place[-1])
    return None if raw is None or bytes(raw) == NULL else raw


def _first(members: Mapping[str, Raw], names: Iterable[str]) -> int | None:
    for name in names:
        if name in members and (number := number_of(members[name])) is not None:
            return number
    return None


def _input(members: Mapping[str, Raw]) -> int | None:
    for name in INPUT:
        if name in members and (number := number_of(members[name])) is not None:
            return number + sum(number_of(members.get(other)) or 0 for other in LEFT_OUT.get(name, ()))
    for names in SUMS:
        if names[0] in members:
            return sum(number_of(members.get(name)) or 0 for name in names)
    return None


def _completed(
    input_tokens: int | None, output_tokens: int | None, total: int
) -> tuple[int | None, int | None]:
    """With the total: what one count leaves out is in it (thoughts, for Gemini and xAI: output)."""
    if input_tokens is None:
        return (total if output_tokens is None else max(0, total - output_tokens)), output_tokens or 0
    if total >= input_tokens + (output_tokens or 0):
        output_tokens = total - input_tokens
    return input_tokens, output_tokens


def _in_details(members: Mapping[str, Raw], details: Iterable[str], names: Iterable[str]) -> int:
    for detail in details:
        inner = members_of(members.get(detail)) or {}
        if (number := _first(inner, names)) is not None:
            return number
    return _first(members, names) or 0
