"""The values that gate.toml writes as strings: what each looks like, and how it is read.

`PARSERS` is the whole list. A parser takes the string and `Sources`, and gives the value or raises
ValueError: with a message of its own, or with none where "expected ..., found ..." says it all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NewType

from ..usage.dialect import DIALECTS
from .addresses import (
    Address,
    Network,
    parse_address,
    parse_base_url,
    parse_network,
    parse_redis_url,
    parse_store_url,
)
from .paths import Operation, parse_operation, parse_path, parse_prefix
from .secrets import Secret, SecretUrl, Sources, secret_text
from .words import alternatives, quoted

Name = NewType("Name", str)
"""A name that the operator chooses: what TOML takes as a bare key, at most 64 characters."""
Model = NewType("Model", str)
"""The name of a model."""
Text = NewType("Text", str)
"""Printable text on one line."""
HeaderName = NewType("HeaderName", str)
"""A field name of RFC 9110, 5.1, in lower case."""
UrlPath = NewType("UrlPath", str)
"""An absolute path without a slash at its end, unless it is "/" alone."""
Prefix = NewType("Prefix", str)
"""What stands before every path of a surface: a path, or nothing."""
DialectName = NewType("DialectName", str)
"""A family of backends: one of `usage.dialect.DIALECTS`."""
BaseUrl = NewType("BaseUrl", str)
"""The root of an HTTP server, without a slash at its end."""
StoreUrl = NewType("StoreUrl", SecretUrl)
"""A database; the path of an SQLite file is absolute."""
RedisUrl = NewType("RedisUrl", SecretUrl)
"""A Redis server."""


@dataclass(frozen=True, slots=True)
class Parser:
    """How a string becomes a value; `expects` completes "expected ...". A secret is never quoted."""

    expects: str
    parse: Callable[[str, Sources], object]
    secret: bool = False


def _matching(pattern: str) -> Callable[[str, Sources], str]:
    compiled = re.compile(pattern)

    def parse(text: str, _: Sources) -> str:
        if not compiled.fullmatch(text):
            raise ValueError
        return text

    return parse


def _text(text: str, _: Sources) -> str:
    if not (text.isprintable() and 0 < len(text) <= 256 and text == text.strip()):
        raise ValueError
    return text


def _dialect(text: str, _: Sources) -> str:
    if text not in DIALECTS:
        raise ValueError
    return text


def _file(text: str, sources: Sources) -> Path:
    if not text or not text.isprintable():
        raise ValueError
    return sources.path(text)


_SECRET_FORMS = alternatives(["a string", "env:NAME", "file:PATH"])
PARSERS: Mapping[object, Parser] = MappingProxyType(
    {
        Name: Parser("a name of letters, digits, _ and - (at most 64)", _matching("[A-Za-z0-9_-]{1,64}")),
        Model: Parser("the name of a model", _text),
        Text: Parser("text on one line, without space around it", _text),
        HeaderName: Parser("a header name in lower case", _matching("[a-z0-9!#$%&'*+.^_`|~-]{1,64}")),
        UrlPath: Parser('a path such as "/v1": a slash before each part, none at the end', parse_path),
        DialectName: Parser(alternatives(map(quoted, DIALECTS)), _dialect),
        Prefix: Parser('a path such as "/v1": a slash before each part, none at the end', parse_prefix),
        BaseUrl: Parser("the URL of a server, such as http://127.0.0.1:8001", parse_base_url),
        StoreUrl: Parser(
            "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE", parse_store_url, secret=True
        ),
        RedisUrl: Parser("redis://HOST:PORT/NUMBER or rediss://", parse_redis_url, secret=True),
        Network: Parser("a network such as 10.0.0.0/8 or fd00::/8", parse_network),
        Address: Parser("an address: HOST:PORT, [IPV6]:PORT or unix:PATH", parse_address),
        Operation: Parser(
            '"METHOD /path" (with {name} for a segment, {name:path} for the rest) or "*"', parse_operation
        ),
        Path: Parser("the path of a file or folder", _file),
        Secret: Parser(_SECRET_FORMS, lambda text, sources: Secret(secret_text(text, sources)), secret=True),
    }
)
