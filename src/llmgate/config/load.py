"""From the file to the config: read it, convert it, apply the rules, and report all problems together."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError
from .findings import findings
from .lines import line_of, lines_of
from .messages import quoted
from .read import Reader, reported, sources_of
from .rules import RULES
from .schema import Config
from .secrets import Sources
from .warnings import WARNINGS

_PLACE = re.compile(r"((?:[A-Za-z0-9_-]+|\"(?:[^\"\\]|\\.)*\"|\[\d+\]|\.)+): ")
_LARGEST_FILE = 16_777_216


def load(path: str | Path, *, environ: Mapping[str, str] | None = None, workers: int | None = None) -> Config:
    """The settings in the gate.toml at `path`, with `workers` in place of gate.workers if given.

    `environ` is where `env:NAME` looks, by default the environment of this process. Raises `ConfigError`
    with every problem found.
    """
    return load_with_warnings(path, environ=environ, workers=workers).config


class Loaded(NamedTuple):
    """A gate.toml that can be used, and what is probably not meant so, one line for each."""

    config: Config
    warnings: list[str]


def load_with_warnings(
    path: str | Path, *, environ: Mapping[str, str] | None = None, workers: int | None = None
) -> Loaded:
    """As `load`, with what is probably a mistake. Raises `ConfigError`."""
    file = Path(path)
    text = _text(file)
    document = _document(file, text)
    if workers is not None and isinstance(gate := document.setdefault("gate", {}), dict):
        gate["workers"] = workers
    return _read(document, sources_of(file, environ))


def from_document(
    document: Mapping[str, Any], *, file: Path, environ: Mapping[str, str] | None = None
) -> Config:
    """The settings in a TOML document that has been parsed already; `file` is where it is from. See `load`."""
    return _read(document, sources_of(file, environ)).config


def _read(document: Mapping[str, Any], sources: Sources) -> Loaded:
    reader = Reader(sources)
    config: Config = reader.read(Config, document, "")
    problems = [*reader.problems, *findings(RULES, config, reader.tables)]
    if problems:
        raise ConfigError(reported(sources.file, problems))
    return Loaded(config, reported(sources.file, findings(WARNINGS, config, reader.tables)))


def located(path: str | Path, problems: Iterable[str]) -> list[str]:
    """Problems with the line of gate.toml that each is about: `gate.toml:12: routes[2].upstream: ...`.

    Those that name no place in the file, or come from elsewhere, stay as they are.
    """
    try:
        lines = lines_of(_text(Path(path)))
    except (ConfigError, AssertionError, IndexError, ValueError):  # it is not TOML, which is the problem then
        return list(problems)
    return [_located(str(path), problem, lines) for problem in problems]


def _located(file: str, problem: str, lines: Mapping[str, int]) -> str:
    message = problem.removeprefix(f"{file}: ")
    place = _PLACE.match(message)
    line = line_of(place[1], lines) if place else None
    return problem if line is None else f"{file}:{line}: {message}"


def check_file(path: str | Path, *, environ: Mapping[str, str] | None = None) -> list[str]:
    """The problems of the gate.toml at `path`, one line for each; empty if it can be used."""
    try:
        load(path, environ=environ)
    except ConfigError as error:
        return error.problems
    return []


def _document(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or a number of more digits than Python reads
        raise ConfigError([f"{file}: not TOML: {error}{_remedy(str(error), text)}"]) from error
    except RecursionError as error:
        raise ConfigError([f"{file}: not usable: arrays or tables are nested too deeply"]) from error


def _remedy(problem: str, text: str) -> str:
    """Where a table's name needs quotes: what to write."""
    at = re.search(r"at line (\d+)", problem)
    line = text.splitlines()[int(at[1]) - 1].strip() if at else ""
    header = re.fullmatch(r"\[([A-Za-z0-9_-]+)\.([^\"'\[\]]+)\]\s*(?:#.*)?", line)
    return (
        f": a name with other characters is written in quotes: [{header[1]}.{quoted(header[2])}]"
        if header
        else ""
    )


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError([f"{file}: cannot be read: {reason}"]) from error
    if len(content) > _LARGEST_FILE:
        raise ConfigError([f"{file}: over {_LARGEST_FILE} bytes: not a gate.toml"])
    try:
        return content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        byte = content[error.start]
        problem = f"not UTF-8: byte 0x{byte:02x} (at line {line}, column {column}): save it as UTF-8"
        raise ConfigError([f"{file}: {problem}"]) from error
