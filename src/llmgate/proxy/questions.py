"""What the gate itself asks of an upstream: its health, its models, its counters, the tokens of a prompt.

Questions take the way of what is relayed: the same engine, so the same certificates, proxy and guard of addresses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .engines.base import Timeouts, UpstreamBroke, UpstreamRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..errors import Header
    from .engines.base import Engine, Origin

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Bytes of an answer. Metrics and lists of a large backend are a hundredth of it."""


class Answer(NamedTuple):
    """A whole answer, of whatever status."""

    status: int
    content: bytes

    @property
    def is_success(self) -> bool:
        """A status of 2xx."""
        return 200 <= self.status < 300

    def body(self) -> bytes:
        """The content of an answer of 2xx. Raises `ValueError` for another one."""
        if not self.is_success:
            raise ValueError(f"status {self.status}")
        return self.content


async def ask(
    engine: Engine,
    origin: Origin,
    path: str,
    headers: Mapping[bytes, bytes],
    *,
    timeout: float,
    body: bytes | None = None,
) -> Answer:
    """GET `path`, or POST `body`, a JSON document, to it. No redirect is followed.

    `timeout` is in seconds: for the connection, the answer's head, and each of its pieces. Raises `UpstreamError`.
    """
    sent: list[Header] = [(b"accept", b"*/*"), (b"accept-encoding", b"identity")]
    if body is not None:
        sent.append((b"content-type", b"application/json"))
    sent += headers.items()
    request = UpstreamRequest("GET" if body is None else "POST", path.encode("ascii"), sent, body or b"")
    response = await engine.send(origin, request, Timeouts(timeout, timeout, timeout))
    pieces, size = [], 0
    try:
        while piece := await response.read():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                raise UpstreamBroke(f"{origin.url}{path}: the answer is over {MAX_ANSWER_BYTES} bytes")
    finally:
        response.abort()
    return Answer(response.status, b"".join(pieces))
