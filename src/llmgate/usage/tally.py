"""Adding up what an answer reports, event by event or at once, and estimating what it does not report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..backends.endpoint import Endpoint
from .model import Certainty, Reading, Usage
from .report import (
    NO_CHOICES,
    NULL,
    body_text_bytes,
    choices_of,
    delta_bytes,
    is_error,
    members_of,
    string_of,
    usage_of,
)

if TYPE_CHECKING:
    from msgspec import Raw

    from ..backends.dialect import Dialect
    from ..backends.request import ModelRequest

BYTES_PER_TOKEN = 4
"""What an estimate takes a token to be: common tokenizers make 3 to 5 bytes of English text."""
_SILENT = frozenset({Endpoint.EMBEDDINGS, Endpoint.RERANK, Endpoint.POOLING})


def estimate(model_request: ModelRequest, text_bytes: int, *, finished: bool) -> Usage:
    """A quarter of a token for each byte of the request and of the text that came back.

    An answer that finished has made one token at least, unless its endpoint makes none.
    """
    made = 0 if model_request.endpoint in _SILENT else max(int(finished), tokens_in(text_bytes))
    return Usage(input_tokens=tokens_in(model_request.prompt_bound), output_tokens=made)


def tokens_in(size: int) -> int:
    """Estimated tokens of `size` bytes of text, rounded up."""
    return -(-size // BYTES_PER_TOKEN)


def body_reading(dialect: Dialect, model_request: ModelRequest, members: dict[str, Raw]) -> Reading:
    """The reading of a whole JSON answer.

    Where the backend reports the first of several choices only (llama_server/chat_n2_logprobs.txt), the
    others are known if they too ran into `max_tokens`, and estimated from their text if not; the other
    prompts of a batch are taken to be as long as the first (llama_server/completions_list_n.txt).
    """
    usage = usage_of(members.get("usage", NULL))
    if usage is None:
        if is_error(members):
            return Reading(Usage(0, 0), Certainty.PARTIAL)
        return Reading(estimate(model_request, body_text_bytes(members), finished=True), Certainty.ESTIMATED)
    if dialect.sums_choices or len(choices := choices_of(members)) < 2:
        return Reading(usage, Certainty.EXACT)
    made, known = usage.output_tokens, model_request.prompts == 1
    at_limit = choices[0].finish_reason == "length" and made == model_request.max_output
    for choice in choices[1:]:
        same = at_limit and choice.finish_reason == "length"
        made += usage.output_tokens if same else max(1, tokens_in(choice.text_bytes))
        known = known and same
    whole = Usage(
        usage.input_tokens * model_request.prompts, made, usage.cached_tokens, usage.reasoning_tokens
    )
    return Reading(whole, Certainty.EXACT if known else Certainty.ESTIMATED)


class Tally:
    """The running account of one event stream."""

    __slots__ = (
        "_ask",
        "_complete",
        "_dialect",
        "_failed",
        "_index",
        "_is_typed",
        "_merged",
        "_reports",
        "_seen",
        "_text",
        "_total",
        "model",
    )

    def __init__(self, dialect: Dialect, model_request: ModelRequest) -> None:
        self._dialect = dialect
        self._ask = model_request
        self._is_typed = model_request.endpoint in (Endpoint.RESPONSES, Endpoint.MESSAGES)
        self.model: str | None = None
        self._seen = False
        self._failed = False
        self._complete = False
        self._index = 0
        self._reports: dict[int, Raw] = {}
        self._total: Raw | None = None
        self._merged: dict[str, Raw] = {}
        self._text: dict[int, int] = {}

    def see(self, members: dict[str, Raw]) -> bool:
        """Take in the members of one event's object; True if it brought usage and no choices."""
        self._seen = True
        if is_error(members):
            self._failed = True
        if self._is_typed:
            self._see_typed(members)
            return False
        if self.model is None:
            self.model = string_of(members.get("model"))
        usage = members.get("usage")
        if usage is None or bytes(usage) == NULL:
            # llama.cpp's timings count the same tokens, asked for or not (llama_server/chat_stream.txt).
            usage = members.get("timings")
        if usage is None:
            self._see_text(members)
            return False
        return self._see_usage(usage, members)

    def skip_to(self, usage: Raw) -> None:
        """Take in the last one of a run of chunks of the only choice, each of which had a newer report."""
        self._seen = True
        self._reports[self._index] = usage

    def _see_typed(self, members: dict[str, Raw]) -> None:
        """Events of the responses and messages APIs: usage is nested, or in parts that add up."""
        inner = members_of(members.get("response", members.get("message")))
        if inner is not None and self.model is None:
            self.model = string_of(inner.get("model"))
        usage = members_of((inner or members).get("usage"))
        if usage is not None:
            self._merged.update((name, raw) for name, raw in usage.items() if bytes(raw) != NULL)
            # A message starts with the usage of its prompt; all others come with the end.
            self._complete = self._complete or "message" not in members
        elif "delta" in members:
            self._text[0] = self._text.get(0, 0) + delta_bytes(members["delta"])

    def _see_usage(self, usage: Raw, members: dict[str, Raw]) -> bool:
        of_one = bytes(members.get("choices", NO_CHOICES)) != NO_CHOICES
        if self._ask.choices > 1 and of_one and (choices := choices_of(members)):
            self._index = choices[0].index
        if self._dialect.sums_choices and not (of_one and self._dialect.continuous):
            self._total = usage
            self._complete = True
        else:
            self._reports[self._index] = usage
            self._complete = not self._dialect.sums_choices and len(self._reports) >= self._ask.choices
        return not of_one

    def _see_text(self, members: dict[str, Raw]) -> None:
        for choice in choices_of(members):
            self._index = choice.index
            if size := choice.text_bytes:
                self._text[choice.index] = self._text.get(choice.index, 0) + size
        if "delta" in members:
            self._text[0] = self._text.get(0, 0) + delta_bytes(members["delta"])

    def reading(self, *, finished: bool) -> Reading:
        """EXACT if the backend reported the whole; PARTIAL for its last word before a cut; else ESTIMATED.

        A finished stream without one event is how llama-cpp-python refuses (err_too_long_stream.txt):
        nothing was processed.
        """
        usage = self._add_up()
        if usage is not None:
            whole = finished and self._complete and not self._failed
            return Reading(usage, Certainty.EXACT if whole else Certainty.PARTIAL)
        if self._failed and not self._text:
            return Reading(Usage(0, 0), Certainty.PARTIAL)
        if finished and not self._seen:
            return Reading(Usage(0, 0), Certainty.ESTIMATED)
        text = sum(tokens_in(size) for size in self._text.values()) * BYTES_PER_TOKEN
        return Reading(estimate(self._ask, text, finished=finished), Certainty.ESTIMATED)

    def _add_up(self) -> Usage | None:
        if self._merged:
            return usage_of(msgspec.json.encode(self._merged))
        if self._total is not None and (total := usage_of(self._total)):
            return total
        usages = {index: usage for index, raw in self._reports.items() if (usage := usage_of(raw))}
        if not usages:
            return None
        copies = max(1, self._ask.choices // self._ask.prompts)
        by_prompt = {index // copies: usage for index, usage in usages.items()}
        return Usage(
            input_tokens=sum(usage.input_tokens for usage in by_prompt.values()),
            output_tokens=sum(usage.output_tokens for usage in usages.values()),
            cached_tokens=sum(usage.cached_tokens for usage in by_prompt.values()),
            reasoning_tokens=sum(usage.reasoning_tokens for usage in usages.values()),
        )
