"""From the file to the config: read it, convert it, apply the rules, and report all problems together."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .read import Reader, lines, sources_of
from .rules import broken_rules
from .schema import Config

_LARGEST_FILE = 16_777_216


def load(path: str | Path, *, environ: Mapping[str, str] | None = None, workers: int | None = None) -> Config:
    """The settings in the gate.toml at `path`, with `workers` in place of gate.workers if given.

    `environ` is where `env:NAME` looks, by default the environment of this process. Raises `ConfigError`
    with every problem found.
    """
    file = Path(path)
    document = _document(file)
    if workers is not None and isinstance(gate := document.setdefault("gate", {}), dict):
        gate["workers"] = workers
    return from_document(document, file=file, environ=environ)


def from_document(
    document: Mapping[str, Any], *, file: Path, environ: Mapping[str, str] | None = None
) -> Config:
    """The settings in a TOML document that has been parsed already; `file` is where it is from. See `load`."""
    reader = Reader(sources_of(file, environ))
    config: Config = reader.read(Config, document, "")
    problems = [*reader.problems, *broken_rules(config, reader.tables)]
    if problems:
        raise ConfigError(lines(file, problems))
    return config


def check_file(path: str | Path, *, environ: Mapping[str, str] | None = None) -> list[str]:
    """The problems of the gate.toml at `path`, one line for each; empty if it can be used."""
    try:
        load(path, environ=environ)
    except ConfigError as error:
        return error.problems
    return []


def _document(file: Path) -> dict[str, Any]:
    text = _text(file)
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or a number of more digits than Python reads
        raise ConfigError([f"{file}: not TOML: {error}"]) from error
    except RecursionError as error:
        raise ConfigError([f"{file}: not usable: arrays or tables are nested too deeply"]) from error


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
