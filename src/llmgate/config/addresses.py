"""Addresses to listen on, networks, and the URLs of backends and stores."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from .messages import quoted
from .paths import URL_PATH
from .secrets import SecretUrl, Sources, secret_text

ASGI_APP: Final = "app:"
"""In the place of an upstream's URLs: the app that `llmgate.gate.embed.Gate` is put around."""
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
"""A range of IP addresses."""

_HOST = r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
_HOST_AND_PORT = re.compile(_HOST + r":(?P<port>[0-9]{1,5})")
_NETLOC = re.compile(_HOST + r"(?::(?P<port>[0-9]{1,5}))?")
_LONGEST_SOCKET_PATH: Final = 103
"""Bytes of `sun_path` without its NUL on the systems that have the least (macOS, BSD)."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener listens: a host and a port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect to it; not said of a Unix socket, which no browser knows."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.rstrip(".").lower() == "localhost"

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_network(text: str, _: Sources) -> Network:
    """A network in CIDR notation; a single address is a network of one."""
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


def parse_address(text: str, sources: Sources) -> Address:
    """`HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`."""
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


def parse_base_url(text: str, _: Sources) -> str:
    """`http://` or `https://`, a host, and maybe a port and a path; without the slash at its end."""
    url = _split(text)
    if url.scheme not in {"http", "https"}:
        raise ValueError(f"{quoted(text)} has no http:// or https:// before the host")
    if "@" in url.netloc:
        raise ValueError("credentials in the URL: put them into api_key")
    if "?" in text or "#" in text:
        raise ValueError(f"{quoted(text)} has a query or a fragment: write the server's root alone")
    _check_netloc(url.netloc, url.scheme)
    path = url.path.rstrip("/")
    if path and not URL_PATH.fullmatch(path):
        raise ValueError(f"{quoted(text)} has a path that servers may read differently")
    return f"{url.scheme}://{url.netloc}{path}"


def parse_replica_url(text: str, sources: Sources) -> str:
    """A base URL, or `app:`."""
    return text if text == ASGI_APP else parse_base_url(text, sources)


def parse_origin(text: str, sources: Sources) -> str:
    """A base URL without a path, in lower case, and without a port that goes without saying."""
    url = parse_base_url(text.lower(), sources)
    if urlsplit(url).path:
        raise ValueError(f"{quoted(text)} has a path: browsers send the origin alone")
    return re.sub(
        r"(?<=^http:)(//[^/]*):80$|(?<=^https:)(//[^/]*):443$", lambda match: match[1] or match[2], url
    )


def parse_proxy_url(text: str, sources: Sources) -> SecretUrl:
    """`http://...` or `https://...`, plain or named by `env:` or `file:`."""
    text = secret_text(text, sources)
    if text.partition("://")[0] not in {"http", "https"}:
        raise ValueError
    return _server_url(text, needs_path=False)


def parse_store_url(text: str, sources: Sources) -> SecretUrl:
    """`sqlite:///PATH` or `postgresql://...`, plain or named by `env:` or `file:`."""
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


LIMITS_SCHEMES: Final = (
    "memory", "memcached", "mongodb", "mongodb+srv",
    "redis", "rediss", "redis+cluster", "redis+sentinel", "redis+unix",
    "valkey", "valkeys", "valkey+cluster", "valkey+sentinel", "valkey+unix",
)  # fmt: skip
"""Those of the `limits` library's asynchronous storages."""


def parse_limits_url(text: str, sources: Sources) -> SecretUrl:
    """A URL of the `limits` library, plain or named by `env:` or `file:`."""
    text = secret_text(text, sources)
    scheme, found, _ = text.partition("://")
    if not found or scheme not in LIMITS_SCHEMES:
        raise ValueError
    return _server_url(text, needs_path=False) if scheme in ("redis", "rediss") else SecretUrl(text)


def parse_smtp_url(text: str, sources: Sources) -> SecretUrl:
    """`smtp://...` or `smtps://...`, plain or named by `env:` or `file:`."""
    text = secret_text(text, sources)
    if text.partition("://")[0] not in {"smtp", "smtps"}:
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
