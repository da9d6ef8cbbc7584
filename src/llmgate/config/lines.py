"""On which line of gate.toml each key stands: `tomllib` gives the values alone.

Reads text that `tomllib` has taken, so it need not judge, only find its way: https://toml.io/en/v1.0.0.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from typing import Final

from .messages import join

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")|' r"'''.*?'{3,5}(?!')|" r""""(?:[^"\\\n]|\\.)*"|'[^'\n]*'""", re.DOTALL
)
_SCALAR = re.compile(r"[^,\]}#\r\n]+")
_LAST_STEP = re.compile(r"(?:\[\d+\]|(?:^|\.)(?:[A-Za-z0-9_-]+|\"(?:[^\"\\]|\\.)*\"))$")


def lines_of(text: str) -> Mapping[str, int]:
    """The line, from 1 on, of every table, key and item, by its place: `routes[0].path`, `prices."gpt-4.1"`."""
    return _Scanner(text).read()


def line_of(place: str, lines: Mapping[str, int]) -> int | None:
    """The line of `place`, or of the nearest table that it would stand in; None if there is none."""
    while place and place not in lines:
        shorter = _LAST_STEP.sub("", place)
        if shorter == place:
            return None
        place = shorter
    return lines.get(place)


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text: Final = text
        self._at = 0
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._lines: dict[str, int] = {}
        self._arrays: dict[str, int] = {}
        """How many tables each array of tables has so far."""

    def read(self) -> dict[str, int]:
        table = ""
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)
        return self._lines

    def _header(self) -> str:
        """`[a.b]` or `[[a.b]]`; returns the place of the table that begins here."""
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        *outer, last = self._keys()
        place = ""
        for key in outer:
            place = join(place, key)
            self._note(place)
            place = self._latest(place)
        place = join(place, last)
        self._note(place)
        if is_array:
            self._arrays[place] = self._arrays.get(place, -1) + 1
            place = self._latest(place)
            self._note(place)
        self._at += 2 if is_array else 1
        return place

    def _latest(self, place: str) -> str:
        """In an array of tables, its latest table."""
        return f"{place}[{self._arrays[place]}]" if place in self._arrays else place

    def _pair(self, table: str) -> None:
        """`a.b = value` in `table`."""
        for key in self._keys():
            table = join(table, key)
            self._note(table)
        self._at += 1  # =
        self._skip(_SPACE)
        self._value(table)

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._skip(_SPACE)
            raw = self._take(_KEY)
            keys.append(next(iter(tomllib.loads(f"{raw} = 0"))))
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return keys
            self._at += 1

    def _value(self, place: str) -> None:
        first = self._text[self._at]
        if first == "[":
            self._array(place)
        elif first == "{":
            self._inline_table(place)
        else:
            self._take(_STRING if first in "\"'" else _SCALAR)

    def _array(self, place: str) -> None:
        self._at += 1
        index = 0
        self._skip(_BLANK)
        while self._text[self._at] != "]":
            item = f"{place}[{index}]"
            self._note(item)
            self._value(item)
            index += 1
            self._skip_comma()
        self._at += 1

    def _inline_table(self, place: str) -> None:
        self._at += 1
        self._skip(_BLANK)
        while self._text[self._at] != "}":
            self._pair(place)
            self._skip_comma()
        self._at += 1

    def _skip_comma(self) -> None:
        self._skip(_BLANK)
        if self._text[self._at] == ",":
            self._at += 1
            self._skip(_BLANK)

    def _note(self, place: str) -> None:
        self._lines.setdefault(place, bisect_right(self._starts, self._at))

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        assert match is not None, "it may match nothing"
        self._at = match.end()

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None, "tomllib has taken this text"
        self._at = match.end()
        return match[0]
