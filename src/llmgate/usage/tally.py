"""Adding up what an answer reports, event by event or at once, and estimating what it does not report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..backends.endpoint import Endpoint
from .engine_time import engine_seconds, times_of
from .estimate import BYTES_PER_TOKEN, SILENT, believed, estimate, tokens_in, weigh
from .model import Certainty, Reading, Usage
from .report import NULL, Report, is_error, members_of, number_of, raw_usage, report_of, string_of
from .text import choices_of, delta_bytes, has_choice

if TYPE_CHECKING:
    from msgspec import Raw

    from ..backends.dialect import Dialect
    from ..backends.request import ModelRequest

_TYPED = frozenset({Endpoint.RESPONSES, Endpoint.MESSAGES, Endpoint.AUDIO})
"""Whose streams are of typed events (vLLM's transcripts are not)."""


class Tally:
    """The running account of one event stream.

    `failed`: an event has said that the backend gave up. `complete`: the final usage has come.
    """

    __slots__ = (
        "_chunks",
        "_dialect",
        "_earlier",
        "_ended",
        "_index",
        "_may_be_typed",
        "_merged",
        "_reports",
        "_request",
        "_seen",
        "_stale",
        "_text",
        "_times",
        "_total",
        "complete",
        "failed",
        "model",
    )

    def __init__(self, dialect: Dialect, model_request: ModelRequest) -> None:
        self._dialect = dialect
        self._request = model_request
        self._may_be_typed = model_request.endpoint in _TYPED
        self.model: str | None = None
        self.failed = False
        self.complete = False
        self._seen = False
        self._stale = False  # text has passed that no report covers
        self._index = 0
        self._chunks = 0
        self._ended: set[int] = set()
        self._reports: dict[int, Raw] = {}
        self._total: Raw | None = None
        self._earlier: list[
            Raw
        ] = []  # of several choices, one after the other, though it should be one for all
        self._merged: dict[str, Raw] = {}
        self._text: dict[int, int] = {}
        self._times: Raw | None = None

    def see(self, members: dict[str, Raw]) -> None:
        """Take in the members of one event's object."""
        self._seen = True
        if is_error(members):
            self.failed = True
        if self._may_be_typed and "choices" not in members:
            self._see_typed(members)
            return
        if self.model is None:
            self.model = string_of(members.get("model"))
        usage = raw_usage(members)
        if usage is None:
            self._see_text(members)
        else:
            self._see_usage(usage, members)

    def see_unread(self) -> None:
        """An event that nobody can read: a token at least."""
        self._seen = True
        self._count(self._index, BYTES_PER_TOKEN)

    def add_text(self, index: int, size: int) -> None:
        """Take in a chunk of one choice that brings `size` bytes of text and nothing else."""
        self._seen = True
        self._index = index
        if size:
            self._count(index, size)
            self.complete, self._stale = False, True

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
        if usage:
            # A message starts with the usage of its prompt; all others come with the end.
            self._merge(usage)
            self.complete = self.complete or "message" not in members
            self._times = times_of(inner or members) or times_of(members)
        elif (raw := members.get("delta") or members.get("content_block")) is not None:
            if size := delta_bytes(raw):
                self._count(0, size)
                self.complete, self._stale = False, True
            if (timings := members_of(members.get("timings"))) is not None:
                self._merge(timings)
                self._stale = False

    def _merge(self, usage: dict[str, Raw]) -> None:
        """A later number takes the place of an earlier one, but a later zero takes nothing back."""
        for name, raw in usage.items():
            if bytes(raw) != NULL and (name not in self._merged or number_of(raw) != 0):
                self._merged[name] = raw

    def _see_usage(self, usage: Raw, members: dict[str, Raw]) -> None:
        of_one = has_choice(members)
        ended = not of_one
        if of_one and (self._request.choices > 1 or not self._dialect.continuous):
            for choice in choices_of(members):
                self._index = choice.index
                ended = ended or choice.finish_reason is not None
                if choice.text_bytes:
                    self._count(choice.index, choice.text_bytes)
        many = self._request.choices > 1
        if self._dialect.sums_choices and not (of_one and (many or self._dialect.continuous)):
            if many and self._total is not None:
                self._earlier.append(self._total)
            self._total = usage
            self.complete, self._stale = True, False
        else:
            self._reports[self._index] = usage
            self._stale = False
            if ended:
                self._ended.add(self._index)
            self.complete = not self._dialect.sums_choices and len(self._ended) >= self._request.choices
        if self.complete:
            self._times = times_of(members)

    def _see_text(self, members: dict[str, Raw]) -> None:
        for choice in choices_of(members):
            self._index = choice.index
            if choice.text_bytes:
                self._count(choice.index, choice.text_bytes)
                self.complete, self._stale = False, True
        if "delta" in members and (size := delta_bytes(members["delta"])):
            self._count(0, size)
            self.complete, self._stale = False, True

    def _count(self, index: int, size: int) -> None:
        self._chunks += 1
        self._text[index] = self._text.get(index, 0) + size

    def reading(self, *, finished: bool) -> Reading:
        """EXACT if the backend reported the whole; PARTIAL for its last word before a cut; else ESTIMATED.

        A finished stream without one event is how llama-cpp-python refuses (err_too_long_stream.txt):
        nothing was processed.
        """
        report = self._add_up()
        if report is not None and not self.failed:
            report = believed(report, self._request, sum(self._text.values()), finished=finished)
        if report is None:
            if self.failed and not self._text:
                return Reading(Usage(0, 0), Certainty.PARTIAL)
            if finished and not self._seen:
                return Reading(Usage(0, 0), Certainty.ESTIMATED)
            return Reading(self._estimate(finished=finished), Certainty.ESTIMATED)
        is_whole = report.input is not None and report.output is not None
        passed = Usage(0, 0) if is_whole and not self._stale else self._estimate(finished=False)
        usage, known = weigh(report, passed, silent=self._request.endpoint in SILENT)
        if finished and self.complete and not self.failed and known:
            times = self._times if self._request.choices == 1 else None
            return Reading(usage, Certainty.EXACT, engine_seconds(times))
        least = passed.output_tokens if self._stale else self._chunks
        if not self.complete and usage.output_tokens < least:
            usage, known = msgspec.structs.replace(usage, output_tokens=least), False
        return Reading(usage, Certainty.PARTIAL if known else Certainty.ESTIMATED)

    def _estimate(self, *, finished: bool) -> Usage:
        """By the text that has passed, each choice rounded up for itself."""
        text = sum(tokens_in(size) for size in self._text.values()) * BYTES_PER_TOKEN
        return estimate(self._request, text, finished=finished, chunks=self._chunks)

    def _add_up(self) -> Report | None:
        if self._merged:
            return report_of(self._merged)
        if self._total is not None and (total := report_of(self._total)):
            return total if not self._earlier else _together([*map(report_of, self._earlier), total])
        reports = {index: report for index, raw in self._reports.items() if (report := report_of(raw))}
        if not reports:
            return None
        copies = self._request.copies
        by_prompt = {index // copies: report for index, report in reports.items()}
        inputs = [report.input for report in by_prompt.values()]
        outputs = [report.output for report in reports.values()]
        return Report(
            None if None in inputs else sum(number or 0 for number in inputs),
            None if None in outputs else sum(number or 0 for number in outputs),
            sum(report.cached for report in by_prompt.values()),
            sum(report.reasoning for report in reports.values()),
        )


def _together(reports: list[Report | None]) -> Report:
    """Of a backend that is not what it was taken for (llama.cpp's server as `openai`): a report for each choice."""
    known = [report for report in reports if report is not None]
    return Report(
        max((report.input or 0 for report in known), default=None),
        sum(report.output or 0 for report in known),
        max((report.cached for report in known), default=0),
        sum(report.reasoning for report in known),
        guessed=True,
    )
