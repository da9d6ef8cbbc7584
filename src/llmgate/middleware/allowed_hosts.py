"""Which names a gate is asked by: what keeps web pages of others out of a gate that only this machine reaches."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from ..errors import BadRequest, answer
from ..exchange import StackLayer

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

LOCAL_NAMES = ("*.localhost",)
"""What may be asked at a loopback address beside IP addresses and names without a dot.

A page on `evil.example` whose name turns into 127.0.0.1 (DNS rebinding) still says `Host: evil.example`.
"""
_BARE = re.compile(r"[a-z0-9_-]+")
REMEMBERED = 100
"""Hosts whose verdict is kept: a gate is asked by a few, and somebody may send many."""


class AllowedHosts(StackLayer):
    """Passes on what is asked by one of `hosts` ("gate.example", "*.example", "*"), or by an IP address.

    With `bare` names without a dot are taken, too: no name server of the Internet knows any. Others get 421 (RFC 9110
    15.5.20), or what `refused` answers.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: Collection[str], bare: bool = False, refused: ASGIApp | None = None
    ) -> None:
        self.app = app
        self._hosts = frozenset(hosts)
        self._suffixes = tuple(pattern[1:] for pattern in hosts if pattern.startswith("*."))
        self._bare = bare
        self._refused = refused or misdirected
        self._known: dict[bytes, bool] = {}

    def within_stack(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI; at once the coroutine of the app itself."""
        if scope["type"] in ("http", "websocket"):
            for name, value in scope["headers"]:
                if name == b"host":
                    known = self._known.get(value)
                    if not (self._judge(value) if known is None else known):
                        return self._refused(scope, receive, send)
                    break
        return self.app(scope, receive, send)

    def _judge(self, value: bytes) -> bool:
        allowed = self._allows(name_of(value))
        if len(self._known) < REMEMBERED:
            self._known[value] = allowed
        return allowed

    def _allows(self, host: str) -> bool:
        if "*" in self._hosts or host in self._hosts or host.endswith(self._suffixes):
            return True
        if self._bare and _BARE.fullmatch(host):
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True


def name_of(value: bytes) -> str:
    """The host of a Host header, without its port, brackets, and the dot that ends an absolute name."""
    text = value.decode("latin-1").strip().lower()
    bracketed, bracket, rest = text.partition("]")
    if bracketed.startswith("[") and bracket and (not rest or rest.startswith(":")):
        return bracketed[1:]
    return text.partition(":")[0].removesuffix(".")


async def misdirected(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers 421; closes a WebSocket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": "the host is not served here"})
        return
    await answer(scope, send, refusal(scope))


def refusal(scope: Scope) -> BadRequest:
    """What is wrong, and what the operator can do about it."""
    host = next((name_of(value) for name, value in scope["headers"] if name == b"host"), "")
    return BadRequest(
        f"The host {host[:100]!a} is not served here: ask by another name, or have it added to gate.hosts.",
        status=421,
        code="misdirected_request",
    )
