"""Secrets: written into gate.toml, or better, named there as `env:NAME` or `file:PATH`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .messages import quoted, without_credentials

_LARGEST_FILE = 65_536


@dataclass(frozen=True, slots=True)
class Sources:
    """Where gate.toml is, and where the values come from that it only names: its folder, the environment."""

    file: Path
    environ: Mapping[str, str]

    def path(self, text: str) -> Path:
        """`text` as an absolute path; a relative one starts in the folder of gate.toml."""
        return Path(self.file.parent, text).absolute()


class Secret:
    """A text that shows itself only to who asks for it by `reveal`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself."""
        return self._text

    def __repr__(self) -> str:
        return f"{type(self).__name__}('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class PluginSettings(dict[str, Any]):
    """The keys of a plugin's table, as they were written, with the sources that they were written for.

    They are not shown: there may be a secret among them that only the plugin knows to be one.
    """

    def __init__(self, keys: Mapping[str, Any], sources: Sources) -> None:
        super().__init__(keys)
        self.sources = sources

    def __repr__(self) -> str:
        return f"{type(self).__name__}({sorted(self)})"


class SecretUrl(Secret):
    """A URL whose password is a secret; the rest of it may be shown."""

    __slots__ = ()

    @property
    def scheme(self) -> str:
        """What comes before `://`."""
        return self._text.partition("://")[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({without_credentials(self._text).partition('?')[0]!r})"

    __str__ = __repr__


_ELSEWHERE = re.compile(
    r"\$\{?(?:env[:.])?(?P<shell>[A-Za-z_]\w*)\}?|%(?P<windows>[A-Za-z_]\w*)%|\{\{\s*(?:env\.)?(?P<template>[\w.]+)\s*\}\}"
    r"|(?:os\.)?environ(?:/|\[['\"]|\.get\(['\"])(?P<python>[A-Za-z_]\w*)(?:['\"][\])])?|(?i:env)[:/.](?P<env>[A-Za-z_]\w*)"
)
"""How other programs name a variable of the environment: shells, Windows, templates, LiteLLM, Python."""
_IN_URL = re.compile(r"\$\{\w+\}|\{\{.*?\}\}")


def secret_text(text: str, sources: Sources) -> str:
    """The secret that `text` is or names. Raises ValueError if it cannot be had, or is empty.

    What names a variable as other programs do is refused: taken as it stands it would fail much later.
    """
    scheme, _, name = text.partition(":")
    if scheme == "env":
        return _from_environment(name, sources)
    if scheme == "file":
        return _from_file(sources.path(name))
    if not text:
        raise ValueError("an empty secret: leave the key out, or write env:NAME or file:PATH")
    if (match := _ELSEWHERE.fullmatch(text)) is not None:
        variable = next(filter(None, match.groups()))
        raise ValueError(f'this names a variable as other programs do: write "env:{variable}"')
    if "://" in text and _IN_URL.search(text):
        raise ValueError(
            "variables inside of a URL are not filled in: put the whole URL into one, and write env:NAME"
        )
    return text


def _from_environment(name: str, sources: Sources) -> str:
    text = sources.environ.get(name)
    if text is None:
        raise ValueError(f"the environment variable {quoted(name)} is not set")
    if not text:
        raise ValueError(f"the environment variable {quoted(name)} is empty")
    return text


def _from_file(path: Path) -> str:
    shown = quoted(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ValueError(f"cannot read the file {shown}: {reason}") from error
    if len(content) > _LARGEST_FILE:
        raise ValueError(f"the file {shown} is over {_LARGEST_FILE} bytes: too large for a secret")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"the file {shown} is not UTF-8 text") from error
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"the file {shown} is empty")
    return text
