"""Which onion a request goes into: one table of methods and paths for each address that the gate listens on."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import ConfigError, ErrorShape, MethodNotAllowed, NotFound, openai_shape

if TYPE_CHECKING:
    from starlette.types import ASGIApp

ANY = "*"
_PARAMETER = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)(:path)?\}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table: `method` on `path` goes into `app`.

    `path` may have `{name}` for a segment and `{name:path}` for the rest; `method` "*" takes every method.
    `owner` is what gate.toml calls it, `route` its name in metrics and records.
    """

    method: str
    path: str
    app: ASGIApp
    route: str
    owner: str
    surface: str = ""
    error_shape: ErrorShape = openai_shape


@dataclass(slots=True)
class _Pattern:
    """A path with parameters. Each entry has names of its own for them."""

    regex: re.Pattern[str]
    entries: dict[str, Entry] = field(default_factory=dict)

    def parameters(self, entry: Entry, match: re.Match[str]) -> dict[str, str]:
        names = [found[1] for found in _PARAMETER.finditer(entry.path)]
        return dict(zip(names, match.groups(), strict=True))


class Table:
    """The entries of one address. Raises `ConfigError` where two of them claim the same method and path."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._literal: dict[str, dict[str, Entry]] = defaultdict(dict)
        patterns: dict[str, _Pattern] = {}
        problems = []
        self.entries: list[Entry] = []
        for entry in entries:
            self.entries.append(entry)
            if _PARAMETER.search(entry.path):
                shape = _PARAMETER.sub(lambda match: "{:path}" if match[2] else "{}", entry.path)
                methods = patterns.setdefault(shape, _Pattern(_compile(entry.path))).entries
            else:
                methods = self._literal[entry.path]
            if (other := methods.get(entry.method)) is not None:
                problems.append(_clash(entry, other))
            methods[entry.method] = entry
        if problems:
            raise ConfigError(problems)
        self._patterns = sorted(patterns.values(), key=lambda pattern: _rank(pattern.regex.pattern))

    def find(self, method: str, path: str) -> tuple[Entry, dict[str, str]]:
        """The entry for a request and the parameters in its path.

        Raises `NotFound`, or `MethodNotAllowed` where the path is there but not for this method. HEAD goes
        where GET goes. OPTIONS has no meaning of its own: browsers of other origins are not let in.
        """
        allowed: set[str] = set()
        methods = self._literal.get(path)
        if methods is not None:
            entry = _for_method(methods, method)
            if entry is not None:
                return entry, {}
            allowed.update(methods)
        for pattern in self._patterns:
            match = pattern.regex.fullmatch(path)
            if match is not None:
                entry = _for_method(pattern.entries, method)
                if entry is not None:
                    return entry, pattern.parameters(entry, match)
                allowed.update(pattern.entries)
        if not allowed:
            raise NotFound(f"There is nothing at {method} {path}.")
        if "GET" in allowed:
            allowed.add("HEAD")
        raise MethodNotAllowed(f"{path} does not take {method}.", allowed=allowed)


def _for_method(methods: dict[str, Entry], method: str) -> Entry | None:
    entry = methods.get(method) or methods.get(ANY)
    return methods.get("GET") if entry is None and method == "HEAD" else entry


def _compile(path: str) -> re.Pattern[str]:
    pattern, end = "", 0
    for match in _PARAMETER.finditer(path):
        pattern += re.escape(path[end : match.start()])
        pattern += "(.+)" if match[2] else "([^/]+)"
        end = match.end()
    return re.compile(pattern + re.escape(path[end:]), re.DOTALL)


def _rank(pattern: str) -> tuple[bool, int]:
    """Patterns that take a whole rest come last, longer ones first: the more exact one wins."""
    return ".+" in pattern, -len(pattern)


def _clash(entry: Entry, other: Entry) -> str:
    return (
        f"{entry.owner}: {entry.method} {entry.path} is also claimed by {other.owner}; "
        "give one of them a `prefix` (or another `path`), or a `listen` address of its own"
    )
