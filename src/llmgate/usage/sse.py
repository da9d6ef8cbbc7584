"""Server-sent events as bytes: where each event ends, and what its data is.

Follows https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream for line
ends and fields; nothing is decoded, so that what is passed on is what came.
"""

from __future__ import annotations

import re

_BOM = b"\xef\xbb\xbf"
_CR = 0x0D
_BLANK_LINE = re.compile(rb"\n(?:\n|\r\n|\r(?=[^\n]))|\r\r")
"""The end of a line and the blank line after it.

After a line feed, a carriage return is the blank line only once it is known that no line feed follows;
two carriage returns are whole at once (a line feed behind them opens the next event as an empty line).
"""


class EventSplitter:
    """Cuts a byte stream into events, whatever pieces it arrives in.

    All bytes come out again, in order: the events of every `feed`, then `rest`. An event longer than
    `max_event` bytes is not held: it leaves in pieces that are no whole events, and that `data_of`
    therefore finds to be no JSON.
    """

    __slots__ = ("_max_event", "_rest", "_searched")

    def __init__(self, max_event: int = 16 * 1024 * 1024) -> None:
        self._max_event = max_event
        self._rest = bytearray()
        self._searched = 0

    @property
    def rest(self) -> bytes:
        """What has arrived of an event that is not complete."""
        return bytes(self._rest)

    def take_rest(self) -> bytes:
        """The same, which is held no longer."""
        rest = bytes(self._rest)
        self._rest.clear()
        self._searched = 0
        return rest

    def feed(self, data: bytes) -> list[bytes]:
        """The events that `data` completes, each with its blank line; `data` itself if it is just one."""
        is_plain = not self._rest and data.endswith(b"\n\n") and _CR not in data
        if is_plain and data.find(b"\n\n", data.find(b"\n")) == len(data) - 2:
            return [data]
        self._rest += data
        return self._complete()

    def _complete(self) -> list[bytes]:
        rest = self._rest
        events = []
        start = 0
        for end in _BLANK_LINE.finditer(rest, self._searched):
            events.append(bytes(rest[start : end.end()]))
            start = end.end()
        del rest[:start]
        if len(rest) > self._max_event:
            events.append(bytes(rest))
            rest.clear()
        # A blank line may begin up to two bytes before what comes next ("\n\r" waits for its third).
        self._searched = max(0, len(rest) - 2)
        return events


def data_of(event: bytes) -> bytes | None:
    """The event's data, its lines joined by line feeds; None if it has no data field (a comment, say)."""
    is_one_line = event.find(b"\n") == len(event) - 2 and event.endswith(b"\n") and _CR not in event
    if is_one_line and event.startswith(b"data: "):
        return event[6:-2]
    values = []
    for line in event.removeprefix(_BOM).splitlines():
        name, _, value = line.partition(b":")
        if name == b"data":
            values.append(value.removeprefix(b" "))
    return b"\n".join(values) if values else None
