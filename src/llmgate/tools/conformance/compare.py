"""What is the same: two answers to one request, byte for byte, with ids, times and timings masked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from ...errors import Header
from ...proxy.headers import HOP_BY_HOP
from ...ratelimit.headers import LIMIT_HEADERS
from ...usage.sse import EventSplitter

ADDED = frozenset({b"x-request-id", b"x-gate-request-id", *(name.encode() for name in LIMIT_HEADERS)})
"""The headers that the gate may add to an answer."""
VARYING = frozenset({b"date", b"content-length", b"x-request-id"})
"""Headers whose values differ from answer to answer, if only because an id in the body got longer."""

_RANDOM = rb"(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9A-Za-z]{16,})"
_ID = re.compile(
    rb'("(?:id|item_id|response_id|request_id|call_id|tool_call_id)" ?: ?)"(?:[A-Za-z]+[-_])*%b(?:-\d+)*"'
    % _RANDOM
)
_TIME = re.compile(
    rb'("(?:created|created_at|completed_at|\w+_(?:ms|per_second))" ?: ?)-?[0-9.]+(?:[eE][-+]?[0-9]+)?'
)
EXCERPT = 60
"""Bytes that are shown of each side, from a little before the place where they part."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, names of headers in lower case. `cut`: it broke off."""

    status: int
    headers: tuple[Header, ...]
    body: bytes
    cut: bool = False

    @property
    def is_stream(self) -> bool:
        """Whether it is a stream of server-sent events."""
        return any(
            name == b"content-type" and value.startswith(b"text/event-stream") for name, value in self.headers
        )


def masked(text: bytes) -> bytes:
    """`text` without generated ids, times and timings."""
    return _TIME.sub(rb"\1<time>", _ID.sub(rb'\1"<id>"', text))


def differences(direct: Answer, through: Answer) -> list[str]:
    """Every place where the two answers differ, in words; empty if the gate was transparent."""
    found = []
    if direct.status != through.status:
        found.append(f"status: {direct.status} directly, {through.status} through the gate")
    found += _headers(direct, through)
    if direct.cut != through.cut:
        found.append("the end: broke off " + ("directly" if direct.cut else "through the gate"))
    if direct.is_stream and through.is_stream:
        pairs = zip_longest(_events(direct), _events(through), fillvalue=b"")
        found += (f"event {n}: {_parted(*pair)}" for n, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    elif masked(direct.body) != masked(through.body):
        found.append(f"body: {_parted(masked(direct.body), masked(through.body))}")
    return found


def added(direct: Answer, through: Answer) -> set[str]:
    """The headers that the gate has added, of those that it may add."""
    there = {name for name, _ in direct.headers}
    return {name.decode() for name, _ in through.headers if name in ADDED - there}


def _headers(direct: Answer, through: Answer) -> Iterator[str]:
    there = {name for name, _ in direct.headers}
    left = _comparable(direct.headers)
    right = [pair for pair in _comparable(through.headers) if pair[0] not in ADDED or pair[0] in there]
    for name, value in left:
        if (name, value) not in right:
            yield f"header lost or changed: {name.decode()}: {_shown(value)}"
    for name, value in right:
        if (name, value) not in left:
            yield f"header added or changed: {name.decode()}: {_shown(value)}"
    if left != right and sorted(left) == sorted(right):
        yield "the order of the headers"


def _comparable(headers: tuple[Header, ...]) -> list[Header]:
    """What of the headers is meant for the client, and is the same for the same answer."""
    return [(name, b"" if name in VARYING else value) for name, value in headers if name not in HOP_BY_HOP]


def _events(answer: Answer) -> list[bytes]:
    splitter = EventSplitter()
    events = splitter.feed(answer.body)
    return [masked(event) for event in (*events, splitter.rest) if event]


def _parted(direct: bytes, through: bytes) -> str:
    """Both sides from where they part."""
    pairs = zip(direct, through, strict=False)
    same = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(direct), len(through)))
    start = max(0, same - EXCERPT // 3)
    one, other = (_shown(side[start : start + EXCERPT]) or "nothing" for side in (direct, through))
    return f"from byte {same} on\n    directly          {one}\n    through the gate  {other}"


def _shown(value: bytes) -> str:
    return repr(value)[2:-1]
