"""One target after the other, until one answers, and never after the first byte."""

from collections.abc import Callable

import pytest

from llmgate.backends.catalog import FallbackOn, Target
from llmgate.errors import UpstreamFailed
from llmgate.exchange import Exchange
from llmgate.proxy.attempts import Attempts, LookedAt
from llmgate.proxy.engines.base import UpstreamRequest
from llmgate.proxy.upstreams import Lease

FIRST, SECOND = Target("a", "small"), Target("b", "large")
TOO_LONG = b'{"error":{"code":"context_length_exceeded","message":"maximum context length is 10 tokens"}}'


class Response:
    """An answer, piece by piece."""

    def __init__(self, status: int, *pieces: bytes) -> None:
        self.status = status
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces = list(pieces)
        self.aborted = False

    @property
    def ended(self) -> bool:
        return not self.pieces

    async def read(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def abort(self) -> None:
        self.aborted = True


class Held:
    """A lease of a replica."""

    def __init__(self, response: Response) -> None:
        self.response: object = response
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Upstream:
    """Answers as it is told to."""

    def __init__(self, end: Response | Exception) -> None:
        self.end = end
        self.lease = Held(end) if isinstance(end, Response) else None

    async def send(self, request: UpstreamRequest, exchange: Exchange | None = None) -> Held:
        if isinstance(self.end, Exception):
            raise self.end
        assert self.lease is not None
        return self.lease


async def outcome(
    first: Response | Exception,
    *,
    on: tuple[FallbackOn, ...] = tuple(FallbackOn),
    repeatable: bool = True,
    targets: tuple[Target, ...] = (FIRST, SECOND),
) -> tuple[Upstream, Lease | None, Attempts, Exchange]:
    exchange = Exchange("1", 0.0, targets=targets, fallback_on=on)
    upstream = Upstream(first)
    asked: list[Target | None] = []

    def request_for(target: Target | None) -> tuple[Upstream, UpstreamRequest]:
        asked.append(target)
        return upstream, UpstreamRequest("POST", b"/v1/x", [], b"{}")

    attempts = Attempts(exchange, request_for, repeatable=repeatable)  # type: ignore[arg-type]
    lease = await attempts.send(*attempts.request())
    assert asked == [targets[0] if targets else None]
    return upstream, lease, attempts, exchange


async def test_an_answer_is_an_answer() -> None:
    upstream, lease, _, exchange = await outcome(Response(200, b"ok"))
    assert lease is upstream.lease  # type: ignore[comparison-overlap]
    assert (exchange.upstream, exchange.answering) == ("a", "small")


@pytest.mark.parametrize(
    "first",
    [
        lambda: Response(503), lambda: Response(429), lambda: Response(502), lambda: UpstreamFailed("gone"),
        lambda: UpstreamFailed("slow", status=504), lambda: Response(400, TOO_LONG),
    ],
    ids=["busy", "too many", "down", "refused", "late", "too long"],
)  # fmt: skip
async def test_what_another_target_may_not_have_is_tried_there(
    first: Callable[[], Response | Exception],
) -> None:
    upstream, lease, attempts, exchange = await outcome(first())
    assert lease is None
    assert upstream.lease is None or upstream.lease.closed
    attempts.request()
    assert (exchange.upstream, exchange.answering) == ("b", "large")


async def test_only_the_reasons_that_the_operator_named_count() -> None:
    upstream, lease, _, _ = await outcome(Response(503), on=(FallbackOn.DOWN,))
    assert lease is upstream.lease  # type: ignore[comparison-overlap]
    with pytest.raises(UpstreamFailed):
        await outcome(UpstreamFailed("gone"), on=(FallbackOn.BUSY,))


@pytest.mark.parametrize("how", [{"repeatable": False}, {"targets": (FIRST,)}, {"targets": ()}], ids=str)
async def test_what_cannot_be_sent_again_is_answered_as_it_is(how: dict[str, bool]) -> None:
    """A body that came in pieces; the last target; a route with one upstream."""
    upstream, lease, _, _ = await outcome(Response(503), **how)  # type: ignore[arg-type]
    assert lease is upstream.lease  # type: ignore[comparison-overlap]


async def test_a_refusal_that_was_looked_at_is_passed_on_whole() -> None:
    """What is wrong with the request itself is wrong everywhere."""
    body = b'{"error":{"message":"temperature must be at most 2"}}'
    _, lease, _, _ = await outcome(Response(400, body[:10], body[10:]))
    assert lease is not None
    pieces = []
    while not lease.response.ended:
        pieces.append(await lease.response.read())
    assert b"".join(pieces) == body


async def test_a_response_that_was_looked_at_can_be_given_up() -> None:
    response = Response(400, b"x")
    looked_at = LookedAt(response)  # type: ignore[arg-type]
    assert (looked_at.status, await looked_at.head()) == (400, b"x")
    looked_at.abort()
    assert response.aborted
