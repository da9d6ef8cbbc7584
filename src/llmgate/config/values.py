"""The values that gate.toml writes as strings: what each looks like, and how it is read.

A parser takes the string and `Sources`, and gives the value or raises
ValueError: with a message of its own, or with none where "expected ..., found ..." says it all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from ..backends.dialect import DIALECTS
from .addresses import (
    Address,
    Network,
    parse_address,
    parse_base_url,
    parse_limits_url,
    parse_network,
    parse_origin,
    parse_proxy_url,
    parse_replica_url,
    parse_smtp_url,
    parse_store_url,
)
from .messages import alternatives, quoted
from .paths import Operation, parse_operation, parse_path, parse_prefix
from .secrets import Secret, SecretUrl, Sources, secret_text


@dataclass(frozen=True, slots=True)
class Parser:
    """How a string becomes a value; `expects` completes "expected ...". A secret is never quoted.

    `placeholder` stands in the reference where such a value is a key.
    """

    expects: str
    parse: Callable[[str, Sources], object]
    secret: bool = False
    placeholder: str = "KEY"


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


_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_FRAMING = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "proxy-connection"}
    | {"te", "trailer", "transfer-encoding", "upgrade"}
)


def _header_name(text: str, _: Sources) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError
    if text.lower() in _FRAMING:
        raise ValueError(f"{quoted(text)} belongs to the connection: leave it out")
    return text.lower()


def _file(text: str, sources: Sources) -> Path:
    if not text or not text.isprintable():
        raise ValueError
    return sources.path(text)


_A_PATH = 'a path such as "/v1": a slash before each part, none at the end'
_A_STORE = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE"
_AN_OPERATION = '"METHOD /path" (with {name} for a segment, {name:path} for the rest) or "*"'
_A_SECRET = alternatives(["a string", "env:NAME", "file:PATH"])

Name = Annotated[
    str,
    Parser(
        "a name of letters, digits, _ and - (at most 64)",
        _matching("[A-Za-z0-9_-]{1,64}"),
        placeholder="NAME",
    ),
]
"""A name that the operator chooses: what TOML takes as a bare key."""
Model = Annotated[str, Parser("the name of a model", _text, placeholder="MODEL")]
"""The name of a model."""
Text = Annotated[str, Parser("text on one line, without space around it", _text)]
"""Printable text on one line, at most 256 characters."""
HeaderName = Annotated[
    str, Parser("the name of a header that is the gate's to set", _header_name, placeholder="NAME")
]
"""The name of an HTTP header (RFC 9110 5.1), in lower case; none that frames or routes a message."""
Tenant = Annotated[
    str,
    Parser(
        '"key:ID", "user:ID", "organization:ID", or "-" for requests without a credential',
        _matching("(key|user|organization):[1-9][0-9]{0,17}|-"),
        placeholder="TENANT",
    ),
]
"""Whose share of a queue is meant."""
QuotaWindow = Annotated[
    str,
    Parser(
        'none, day, month or a period such as "90s", "24h" or "30d"',
        _matching("none|day|month|[1-9][0-9]{0,8}s|[1-9][0-9]{0,6}m|[1-9][0-9]{0,4}h|[1-9][0-9]{0,3}d"),
        placeholder="WINDOW",
    ),
]
"""When a quota starts over (see `ledger.Window`)."""
FileMode = Annotated[str, Parser('an octal mode such as "660"', _matching("0?[0-7]{3}"))]
"""The permissions of a file."""
HostPattern = Annotated[
    str,
    Parser(
        'a host name in lower case without a port, "*.DOMAIN" or "*"',
        _matching(r"\*|(?:\*\.)?[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_])?"),
    ),
]
"""Which hosts are meant, in lower case."""
UrlPath = Annotated[str, Parser(_A_PATH, parse_path)]
"""An absolute path without a slash at its end, unless it is "/" alone."""
Prefix = Annotated[str, Parser(_A_PATH, parse_prefix)]
"""What stands before every path of a surface: a path, or nothing."""
DialectName = Annotated[str, Parser(alternatives(map(quoted, DIALECTS)), _dialect)]
"""A family of backends: one of `usage.dialect.DIALECTS`."""
BaseUrl = Annotated[str, Parser("the URL of a server, such as http://127.0.0.1:8001", parse_base_url)]
"""The root of an HTTP server, without a slash at its end."""
ReplicaUrl = Annotated[
    str, Parser('the URL of a server, such as http://127.0.0.1:8001, or "app:"', parse_replica_url)
]
"""The root of an HTTP server, or the app that the gate is put around."""
ProxyUrl = Annotated[
    SecretUrl,
    Parser("http://HOST:PORT or https://, with USER:PASSWORD@ if it asks", parse_proxy_url, secret=True),
]
"""A forward proxy."""
Origin = Annotated[str, Parser("the origin of a web page, such as https://chat.example.com", parse_origin)]
"""What browsers send as Origin (RFC 6454): a scheme, a host, maybe a port, no path."""
StoreUrl = Annotated[SecretUrl, Parser(_A_STORE, parse_store_url, secret=True)]
"""A database; the path of an SQLite file is absolute."""
LimitsUrl = Annotated[
    SecretUrl,
    Parser(
        "memory://, redis://HOST:PORT/NUMBER or another URL of the limits library",
        parse_limits_url,
        secret=True,
    ),
]
"""Where rate limits are counted."""
SmtpUrl = Annotated[
    SecretUrl, Parser("smtp://HOST:PORT or smtps://USER:PASSWORD@HOST", parse_smtp_url, secret=True)
]
"""A mail server."""

PARSERS: Mapping[object, Parser] = MappingProxyType(
    {
        Network: Parser("a network such as 10.0.0.0/8 or fd00::/8", parse_network),
        Address: Parser("an address: HOST:PORT, [IPV6]:PORT or unix:PATH", parse_address),
        Operation: Parser(_AN_OPERATION, parse_operation),
        Path: Parser("the path of a file or folder", _file),
        Secret: Parser(_A_SECRET, lambda text, sources: Secret(secret_text(text, sources)), secret=True),
    }
)
"""How the classes are read that are no strings; the aliases above bring their own parser."""
