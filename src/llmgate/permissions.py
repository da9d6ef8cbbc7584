"""What a key or an organization may do: which models and routes, from where, how much, and how early in the queue."""

from __future__ import annotations

import ipaddress
import math
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from .errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_NAMED = 200
"""Entries of one list."""
LONGEST_NAME = 256
MOST_TOKENS = 10**12
PRIORITIES = (-100, 100)
WEIGHTS = (0.001, 1000.0)


class Permissions(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """As stored with a key or an organization; None: as everybody.

    `models` are names or patterns (`llama-*`) of those that callers use, `routes` names or patterns of routes and
    plugins, `networks` the addresses that requests come from (CIDR). `priority` and `weight` say how a request waits
    where an engine is full: higher classes first, shares by weight. `names_end_users`: the key acts for others and
    says for whom.
    """

    models: tuple[str, ...] | None = None
    routes: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None
    tokens_per_minute: int | None = None
    priority: int | None = None
    weight: float | None = None
    names_end_users: bool = False

    def checked(self) -> Permissions:
        """The same, with networks as they are usually written. Raises `BadRequest` for what cannot be kept."""
        for field in ("models", "routes"):
            _check_names(field, getattr(self, field))
        _check_number("tokens_per_minute", self.tokens_per_minute, 0, MOST_TOKENS)
        _check_number("priority", self.priority, *PRIORITIES)
        _check_number("weight", self.weight, *WEIGHTS)
        if self.networks is None:
            return self
        return msgspec.structs.replace(self, networks=_networks(self.networks))

    def changed(self, changes: dict[str, object]) -> Permissions:
        """With other values for some fields. Raises `BadRequest`."""
        return msgspec.structs.replace(self, **changes).checked()

    def allows_model(self, name: str) -> bool:
        """Whether it may ask for the model that callers call `name`."""
        return self.models is None or matches(self.models, name)

    def allows_route(self, name: str) -> bool:
        """Whether it may use the route or plugin of this name."""
        return self.routes is None or matches(self.routes, name)

    def allows_address(self, address: str | None) -> bool:
        """Whether it may be used from `address`; from an unknown one (a Unix socket) only without `networks`."""
        return self.networks is None or (address is not None and within(self.networks, address))


NOTHING_SAID = Permissions()


@lru_cache(8192)
def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Whether one of `patterns` is `name`, or stands for it."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@lru_cache(8192)
def within(networks: tuple[str, ...], address: str) -> bool:
    """Whether `address` is in one of `networks`; an IPv4 address in IPv6's form is that IPv4 address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in ipaddress.ip_network(network) for network in networks)


def encode(permissions: Permissions) -> str | None:
    """As a column: JSON of what is said, None if nothing is."""
    return None if permissions == NOTHING_SAID else msgspec.json.encode(permissions).decode()


def decode(column: str | None) -> Permissions | None:
    """What `encode` has written."""
    return None if column is None else msgspec.json.decode(column, type=Permissions)


def exceeds(wanted: Permissions | None, bound: Permissions | None) -> bool:
    """Whether `wanted` may do something that `bound` may not: nobody gives away more than he has."""
    mine, new = bound or NOTHING_SAID, wanted or NOTHING_SAID
    lists = any(
        allowed is not None and (asked is None or not set(asked) <= set(allowed))
        for allowed, asked in (
            (mine.models, new.models),
            (mine.routes, new.routes),
            (mine.networks, new.networks),
        )
    )
    tokens = mine.tokens_per_minute is not None and (
        new.tokens_per_minute is None or new.tokens_per_minute > mine.tokens_per_minute
    )
    return (
        lists
        or tokens
        or (new.priority or 0) > (mine.priority or 0)
        or (new.weight or 1.0) > (mine.weight or 1.0)
        or (new.names_end_users and not mine.names_end_users)
    )


def _check_names(field: str, names: Iterable[str] | None) -> None:
    if names is None:
        return
    names = tuple(names)
    if len(names) > MOST_NAMED:
        raise BadRequest(f"{field}: at most {MOST_NAMED} entries", param=field)
    for name in names:
        if not (0 < len(name) <= LONGEST_NAME and name.isprintable() and name == name.strip()):
            raise BadRequest(
                f"{field}: expected names of 1 to {LONGEST_NAME} printable characters", param=field
            )
    if len({*names}) < len(names):
        raise BadRequest(f"{field}: an entry is there twice", param=field)


def _check_number(field: str, number: float | None, least: float, most: float) -> None:
    if number is not None and not (math.isfinite(number) and least <= number <= most):
        raise BadRequest(f"{field}: expected a number from {least:g} to {most:g}", param=field)


def _networks(given: Iterable[str]) -> tuple[str, ...]:
    try:
        networks = tuple(str(ipaddress.ip_network(each)) for each in given)
    except ValueError as error:
        raise BadRequest(f"networks: {error}: write 10.0.0.0/8 or 2001:db8::/32", param="networks") from error
    if len(networks) > MOST_NAMED:
        raise BadRequest(f"networks: at most {MOST_NAMED} entries", param="networks")
    return tuple(dict.fromkeys(networks))
