"""The values that gate.toml writes as strings: what each looks like, and how it is read.

`PARSERS` is the whole list. A parser takes the string and `Sources`, and gives the value or raises
ValueError: with a message of its own, or with none where "expected ..., found ..." says it all.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, NewType
from urllib.parse import SplitResult, urlsplit

from ..usage.dialect import DIALECTS
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
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
"""A range of IP addresses."""

_HOST = r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
_HOST_AND_PORT = re.compile(_HOST + r":(?P<port>[0-9]{1,5})")
_NETLOC = re.compile(_HOST + r"(?::(?P<port>[0-9]{1,5}))?")
_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~!$&'()*+,;=:@-]+"
_PATH = re.compile(rf"/|(?:/{_SEGMENT})+")
_TEMPLATE_SEGMENT = rf"(?:\{{[a-z_]+\}}|{_SEGMENT})"
_OPERATION = re.compile(rf"([A-Z]+) ((?:/{_TEMPLATE_SEGMENT})*(?:/\{{[a-z_]+:path\}})?)")
_LONGEST_SOCKET_PATH: Final = 103
"""Bytes of `sun_path` without its NUL on the systems that have the least (macOS, BSD)."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener listens: a host and a port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Operation:
    """A method and a path below a route's prefix; `Operation("*", "*")` is all of them.

    In the path, `{name}` stands for one segment and `{name:path}`, at the end, for one or more.
    """

    method: str
    path: str

    def __str__(self) -> str:
        return "*" if self.method == "*" else f"{self.method} {self.path}"


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


def _path(text: str, _: Sources) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError
    return text


def _prefix(text: str, sources: Sources) -> str:
    if text == "/":
        raise ValueError('"/" adds nothing: leave the key out')
    return text and _path(text, sources)


def _dialect(text: str, _: Sources) -> str:
    if text not in DIALECTS:
        raise ValueError
    return text


def _operation(text: str, _: Sources) -> Operation:
    if text == "*":
        return Operation("*", "*")
    match = _OPERATION.fullmatch(text)
    if match is None or not match[2]:
        raise ValueError
    return Operation(match[1], match[2])


def _network(text: str, _: Sources) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        if "host bits" in str(error):
            network = ipaddress.ip_network(text, strict=False)
            raise ValueError(f"{quoted(text)} has bits set beyond its prefix: write {network}") from error
        raise ValueError from error


def _host(match: re.Match[str]) -> str:
    """The host of a match, without brackets; raises ValueError if it looks like an IP address and is none."""
    host = match["host"]
    if host.startswith("["):
        return str(ipaddress.IPv6Address(host[1:-1]))
    if re.fullmatch(r"[0-9.]+", host):
        return str(ipaddress.IPv4Address(host))
    if len(host) > 253 or ".." in host:
        raise ValueError(f"{quoted(host)} is not a host name")
    return host


def _address(text: str, sources: Sources) -> Address:
    scheme, _, path = text.partition(":")
    if scheme == "unix":
        return Address(path=_socket_path(path, sources))
    if "://" in text:
        raise ValueError(f"{quoted(text)} is a URL: write the address alone, such as 127.0.0.1:8000")
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None:
        raise ValueError
    port = int(match["port"])
    if port > 65_535:
        raise ValueError(f"port {port} is over 65535")
    return Address(_host(match), port)


def _socket_path(text: str, sources: Sources) -> Path:
    if not text or not text.isprintable():
        raise ValueError
    path = sources.path(text)
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ValueError(f"{quoted(str(path))} is over {_LONGEST_SOCKET_PATH} bytes: move the socket up")
    return path


def _split(text: str) -> SplitResult:
    """The parts of a URL. Checked first for what `urlsplit` would silently remove (white space, controls)."""
    if not re.fullmatch(r"[!-~]+", text) or "\\" in text:
        raise ValueError("a URL has no white space, backslashes or characters outside of ASCII")
    try:
        return urlsplit(text)
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from error


def _check_netloc(netloc: str, scheme: str) -> None:
    match = _NETLOC.fullmatch(netloc)
    if match is None or int(match["port"] or 1) not in range(1, 65_536):
        raise ValueError(f"no valid host and port after {scheme}://")
    _host(match)


def _base_url(text: str, _: Sources) -> str:
    url = _split(text)
    if url.scheme not in {"http", "https"}:
        raise ValueError(f"{quoted(text)} has no http:// or https:// before the host")
    if "@" in url.netloc:
        raise ValueError("credentials in the URL: put them into api_key")
    if "?" in text or "#" in text:
        raise ValueError(f"{quoted(text)} has a query or a fragment: write the server's root alone")
    _check_netloc(url.netloc, url.scheme)
    path = url.path.rstrip("/")
    if path and not _PATH.fullmatch(path):
        raise ValueError(f"{quoted(text)} has a path that servers may read differently")
    return f"{url.scheme}://{url.netloc}{path}"


def _store_url(text: str, sources: Sources) -> SecretUrl:
    text = secret_text(text, sources)
    scheme, _, rest = text.partition("://")
    if scheme == "sqlite":
        return SecretUrl(f"sqlite:///{_database_file(rest, sources)}")
    if scheme == "postgresql":
        return _server_url(text, needs_path=True)
    if scheme == "postgres" or scheme.startswith("postgresql+"):
        raise ValueError("the scheme is postgresql:// alone: llmgate brings the driver")
    raise ValueError


def _database_file(rest: str, sources: Sources) -> Path:
    name = rest.removeprefix("/")
    if not rest.startswith("/") or not name or not name.isprintable() or name.endswith("/"):
        raise ValueError("no file: write sqlite:///gate.db (beside gate.toml) or sqlite:////var/lib/gate.db")
    if name == ":memory:":
        raise ValueError("a store in memory forgets the ledger: name a file, such as sqlite:///gate.db")
    if "?" in name:
        raise ValueError("an SQLite URL takes no options: they are keys of [store]")
    return sources.path(name)


def _redis_url(text: str, sources: Sources) -> SecretUrl:
    text = secret_text(text, sources)
    if text.partition("://")[0] not in {"redis", "rediss"}:
        raise ValueError
    return _server_url(text, needs_path=False)


def _server_url(text: str, *, needs_path: bool) -> SecretUrl:
    """A URL that may hold a password: no message quotes it."""
    url = _split(text)
    if url.netloc or not needs_path:  # postgresql:///DATABASE is the local server's socket
        _check_netloc(url.netloc.rpartition("@")[2], url.scheme)
    if needs_path and not url.path.strip("/"):
        raise ValueError(f"no database: write {url.scheme}://USER:PASSWORD@HOST/DATABASE")
    return SecretUrl(text)


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
        UrlPath: Parser('a path such as "/v1": a slash before each part, none at the end', _path),
        DialectName: Parser(alternatives(map(quoted, DIALECTS)), _dialect),
        Prefix: Parser('a path such as "/v1": a slash before each part, none at the end', _prefix),
        BaseUrl: Parser("the URL of a server, such as http://127.0.0.1:8001", _base_url),
        StoreUrl: Parser(
            "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE", _store_url, secret=True
        ),
        RedisUrl: Parser("redis://HOST:PORT/NUMBER or rediss://", _redis_url, secret=True),
        Network: Parser("a network such as 10.0.0.0/8 or fd00::/8", _network),
        Address: Parser("an address: HOST:PORT, [IPV6]:PORT or unix:PATH", _address),
        Operation: Parser(
            '"METHOD /path" (with {name} for a segment, {name:path} for the rest) or "*"', _operation
        ),
        Path: Parser("the path of a file or folder", _file),
        Secret: Parser(_SECRET_FORMS, lambda text, sources: Secret(secret_text(text, sources)), secret=True),
    }
)
