"""The meter of a stream in which the gate has asked for counts: the client gets it as if nobody had asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Raw

from .report import NULL, members_of
from .sse import data_of
from .stream import StreamMeter
from .text import has_choice

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..backends.dialect import Dialect
    from ..backends.request import ModelRequest

MAX_NESTED = 32
"""Members of one name in an event that are looked at, each of which takes another look at the event."""
USAGE, TIMINGS = "usage", "timings"
_KEY = b'"usage"'
_CHUNK = b"data: {"
_USAGE = b'}],"usage":{'
_LAST_MEMBER = re.compile(rb'\}\],"usage":(\{[^{}\n]*\})\}\n\n')
_ERROR = b'"error"'
_CR = 0x0D
"""A number: to look for a byte by bytes takes ten times as long."""
_FINISH = b'"finish_reason"'
_NO_FINISH = b'"finish_reason":null'
_SPACE = b" \t\r\n"


class StrippingMeter(StreamMeter):
    """Gives the client the stream that it would have had if the gate had asked for nothing.

    `asked` names the members that chunks have because the gate has asked for them. `usage` goes out of every
    chunk. Unless the client wants the final usage event, that goes too, and the members that it took from the
    terminal chunk (`Dialect.moves_to_usage`) return there; so a terminal chunk waits for the event behind it,
    which comes with it. `timings` go out of the chunks that do not end a choice: those that do have them unasked.

    Events are never passed on in part, and one that does not look as expected is passed on as it is. (With
    several choices vLLM stamps each terminal chunk with its fingerprint; only the last one, next to the usage
    event, gets it back.)
    """

    __slots__ = ("_asks_timings", "_asks_usage", "_between", "_held", "_keeps_final", "_may_skim", "_moves")
    strips = True

    def __init__(self, dialect: Dialect, model_request: ModelRequest, asked: Collection[str]) -> None:
        super().__init__(dialect, model_request)
        self._asks_usage = USAGE in asked
        self._asks_timings = TIMINGS in asked
        self._keeps_final = model_request.wants_usage or not self._asks_usage
        self._moves = () if self._keeps_final else dialect.moves_to_usage
        self._held = b""
        self._may_skim = dialect.continuous and model_request.choices == 1
        self._between = False  # nothing is held, and what comes next begins an event

    def feed(self, data: bytes) -> bytes:
        """Takes note of `data` and gives back what may go to the client now."""
        if self._between and (stripped := self._skim(data)) is not None:
            return stripped
        events = self._splitter.feed(data)
        out = self._pass(events[0]) if len(events) == 1 else b"".join(map(self._pass_or_skim, events))
        self._between = self._is_between and not self._splitter.rest
        return out

    @property
    def _is_between(self) -> bool:
        """Whether what begins with an event may be skimmed: the model is known, and nothing is held."""
        return self._may_skim and not self._held and self._tally.model is not None

    def _skim(self, data: bytes) -> bytes | None:
        if (skimmed := skim(data)) is None:
            return None
        stripped, usage = skimmed
        self._tally.skip_to(usage)
        return stripped

    def _pass_or_skim(self, event: bytes) -> bytes:
        """One of several events that came together, of which one is not to be skimmed: the first or last, say."""
        stripped = self._skim(event) if self._is_between else None
        return self._pass(event) if stripped is None else stripped

    def end(self) -> bytes:
        """What is still held, once the upstream has finished: the rest is its last event, blank line or not."""
        rest = self._splitter.take_rest()
        out = self._pass(rest) if rest else b""
        out, self._held = out + self._held, b""
        return out

    def _pass(self, event: bytes) -> bytes:
        held, self._held = self._held, b""
        if (chunk := self._see_plain(event)) is not None:
            if (
                self._asks_usage and chunk.usage is None
            ):  # null, in the chunk itself: nothing in it is nested so deep
                event = _without_null(event)
            return held + event
        members = self._read(event)
        if members is None:
            return held + event
        self._tally.see(members)
        if self._asks_usage and USAGE in members:
            if bytes(members[USAGE]) != NULL and not has_choice(members):
                return held + event if self._keeps_final else _restore(held, members, self._moves)
            event = without_member(event, USAGE, bytes(members[USAGE]))
        if self._asks_timings and TIMINGS in members and not _ends(event, members):
            event = without_member(event, TIMINGS, bytes(members[TIMINGS]))
        if self._moves and _is_terminal(event):
            self._held, event = event, b""
        return held + event


def skim(data: bytes) -> tuple[bytes, Raw] | None:
    """A run of chunks as vLLM writes them, without their usage, and the last one's usage; None for all else.

    The short way for nearly every chunk of a stream: whole events, each one line with an object whose last two
    members are its choices and a flat usage, none of which ends a choice or is an error.
    """
    if _CR in data or not data.startswith(_CHUNK) or data.find(_ERROR) >= 0:
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


def without_member(event: bytes, name: str, value: bytes) -> bytes:
    """The event without its object's own member `name`, of that value, and one comma; the rest as it was.

    Quotes in strings are escaped, so what reads `"usage":` is a key. Next to the end of the event it is the
    object's own; elsewhere it may be that of a nested object, so the right one is that whose absence leaves
    the object without it.
    """
    key = b'"%b"' % name.encode()
    last_member = b",%b:%b}\n\n" % (key, value)
    if event.endswith(last_member):
        return event[: -len(last_member)] + b"}\n\n"
    at = event.find(key)
    for _ in range(MAX_NESTED):
        if at < 0:
            break
        stripped = _cut_member(event, key, at, value)
        if stripped is not None and (left := members_of(data_of(stripped))) is not None and name not in left:
            return stripped
        at = event.find(key, at + 1)
    return event


def _without_null(event: bytes) -> bytes:
    """A plain chunk without its member `usage`, which is null."""
    at = event.find(_KEY)
    while at >= 0:
        if (stripped := _cut_member(event, _KEY, at, NULL)) is not None:
            return stripped
        at = event.find(_KEY, at + 1)
    return event


def _cut_member(event: bytes, key: bytes, start: int, value: bytes) -> bytes | None:
    """`event` without the member whose `key` begins at `start`; None if `value` is not what it holds."""
    before, after = event[:start], event[start + len(key) :].lstrip(_SPACE + b":")
    if not after.startswith(value):
        return None
    after = after[len(value) :]
    if before.rstrip(_SPACE).endswith(b","):
        return before[: before.rindex(b",")] + after
    return before + after.lstrip(_SPACE).removeprefix(b",").lstrip(_SPACE)


def _ends(event: bytes, members: dict[str, Raw]) -> bool:
    """Whether an event has timings though nobody asks for them: it ends a choice, a response, or has no choice."""
    if "delta" in members:
        return False
    return _is_terminal(event) or not has_choice(members)


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
