"""Meters of event streams: one that only looks, and one that takes out what the gate had asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Raw

from .report import members_of
from .sse import EventSplitter, data_of
from .tally import Tally

if TYPE_CHECKING:
    from ..backends.dialect import Dialect
    from ..backends.request import ModelRequest
    from .model import Reading

_KEY = b'"usage"'
_CHUNK = b"data: {"
_USAGE = b'}],"usage":{'
_LAST_MEMBER = re.compile(rb'\}\],"usage":(\{[^{}\n]*\})\}\n\n')
_FINISH = b'"finish_reason"'
_NO_FINISH = b'"finish_reason":null'
_DONE = b"[DONE]"
_LAST_TYPES = frozenset(
    {b'"message_stop"', b'"response.completed"', b'"response.failed"', b'"response.incomplete"'}
)
"""Types of the events after which clients read no further (Anthropic's messages, OpenAI's responses)."""
_SPACE = b" \t\r\n"


class StreamMeter:
    """Looks at a stream: every byte goes on at once, as the same object."""

    __slots__ = ("_splitter", "_tally", "finished")
    streams = True
    strips = False

    def __init__(self, dialect: Dialect, model_request: ModelRequest) -> None:
        self.finished = False
        self._tally = Tally(dialect, model_request)
        self._splitter = EventSplitter()

    @property
    def model(self) -> str | None:
        """The model named in the answer, once it has been."""
        return self._tally.model

    def feed(self, data: bytes) -> bytes:
        """Takes note of `data` and gives back what may go to the client now."""
        for event in self._splitter.feed(data):
            members = self._read(event)
            if members is not None:
                self._tally.see(members)
        return data

    def _read(self, event: bytes) -> dict[str, Raw] | None:
        data = data_of(event)
        members = members_of(data)
        if members is None:
            self.finished = self.finished or data == _DONE
        elif (kind := members.get("type")) is not None and bytes(kind) in _LAST_TYPES:
            self.finished = True
        return members

    def end(self) -> bytes:
        """What is still held, once the upstream has finished."""
        return b""

    def reading(self, finished: bool) -> Reading:
        """What the answer used; `finished` is False if the stream was cut by either side."""
        return self._tally.reading(finished=finished)


class StrippingMeter(StreamMeter):
    """Gives the client the stream that it would have had if the gate had asked for no usage.

    The `usage` member goes out of every chunk. Unless the client wants the final usage event, that goes
    too, and the members that it took from the terminal chunk (`Dialect.moves_to_usage`) return there; so a
    terminal chunk waits for the event behind it, which comes with it. Events are never passed on in part,
    and one that does not look as expected is passed on as it is. (With several choices vLLM stamps each
    terminal chunk with its fingerprint; only the last one, next to the usage event, gets it back.)
    """

    __slots__ = ("_between", "_held", "_keeps_final", "_may_skim", "_moves")
    strips = True

    def __init__(self, dialect: Dialect, model_request: ModelRequest) -> None:
        super().__init__(dialect, model_request)
        self._keeps_final = model_request.wants_usage
        self._moves = () if model_request.wants_usage else dialect.moves_to_usage
        self._held = b""
        self._may_skim = dialect.continuous and model_request.choices == 1
        self._between = False  # nothing is held, and what comes next begins an event

    def feed(self, data: bytes) -> bytes:
        """Takes note of `data` and gives back what may go to the client now."""
        if self._between and (skimmed := skim(data)) is not None:
            data, usage = skimmed
            self._tally.skip_to(usage)
            return data
        events = self._splitter.feed(data)
        out = self._pass(events[0]) if len(events) == 1 else b"".join([self._pass(event) for event in events])
        self._between = (
            self._may_skim and self.model is not None and not self._held and not self._splitter.rest
        )
        return out

    def end(self) -> bytes:
        """What is still held, once the upstream has finished."""
        rest = self._held + self._splitter.rest
        self._held = b""
        return rest

    def _pass(self, event: bytes) -> bytes:
        held, self._held = self._held, b""
        members = self._read(event)
        if members is None:
            return held + event
        if self._tally.see(members):
            return held + event if self._keeps_final else _restore(held, members, self._moves)
        if "usage" in members:
            event = without_usage(event, bytes(members["usage"]))
        if self._moves and _is_terminal(event):
            self._held, event = event, b""
        return held + event


def skim(data: bytes) -> tuple[bytes, Raw] | None:
    """A run of chunks as vLLM writes them, without their usage, and the last one's usage; None for all else.

    The short way for nearly every chunk of a stream: whole events, each one line with an object whose last two
    members are its choices and a flat usage, none of which ends a choice or is an error.
    """
    if not data.startswith(_CHUNK) or b"\r" in data or b'"error"' in data:
        return None
    if data.count(_FINISH) != data.count(_NO_FINISH):
        return None
    if data.find(b"\n") == len(data) - 2:  # one chunk, as a stream at reading pace brings them
        at = data.rfind(_USAGE)
        if at < 0 or data.find(b"}", at + len(_USAGE)) != len(data) - 4 or not data.endswith(b"}}\n\n"):
            return None
        return data[: at + 2] + b"}\n\n", Raw(data[at + len(_USAGE) - 1 : -3])
    stripped, chunks = _LAST_MEMBER.subn(b"}]}\n\n", data)
    if not data.count(b"\n") == 2 * chunks == 2 * data.count(b"\n" + _CHUNK) + 2:
        return None
    return stripped, Raw(data[data.rindex(_KEY) + len(_KEY) + 1 : -3])


def without_usage(event: bytes, value: bytes) -> bytes:
    """The event without its object's own `usage` member, of that value, and one comma; the rest as it was.

    Quotes in strings are escaped, so what reads `"usage":` is a key. Next to the end of the event it is the
    object's own; elsewhere it may be that of a nested object, so the right one is that whose absence leaves
    the object without usage.
    """
    last_member = b',"usage":%b}\n\n' % value
    if event.endswith(last_member):
        return event[: -len(last_member)] + b"}\n\n"
    at = event.find(_KEY)
    while at >= 0:
        stripped = _cut_member(event, at, value)
        if (
            stripped is not None
            and (left := members_of(data_of(stripped))) is not None
            and "usage" not in left
        ):
            return stripped
        at = event.find(_KEY, at + 1)
    return event


def _cut_member(event: bytes, start: int, value: bytes) -> bytes | None:
    """`event` without the member whose key begins at `start`; None if `value` is not what it holds."""
    before, after = event[:start], event[start + len(_KEY) :].lstrip(_SPACE + b":")
    if not after.startswith(value):
        return None
    after = after[len(value) :]
    if before.rstrip(_SPACE).endswith(b","):
        return before[: before.rindex(b",")] + after
    return before + after.lstrip(_SPACE).removeprefix(b",").lstrip(_SPACE)


def _restore(terminal: bytes, usage_event: dict[str, Raw], names: tuple[str, ...]) -> bytes:
    """The terminal chunk with the members that it gave to the usage event."""
    for name in names:
        if terminal and name in usage_event and b'"%b":' % name.encode() not in terminal:
            end = terminal.rindex(b"}")
            terminal = b'%b,"%b":%b%b' % (
                terminal[:end],
                name.encode(),
                bytes(usage_event[name]),
                terminal[end:],
            )
    return terminal


def _is_terminal(event: bytes) -> bool:
    """Whether a chunk ends its choice. Looked for from the end, where it stands: this runs for every chunk."""
    at = event.rfind(_FINISH)
    return at >= 0 and not event[at + len(_FINISH) :].lstrip(_SPACE + b":").startswith(b"null")
