"""What an answer tells of limits, and that it tells each thing once."""

import json
from pathlib import Path

import pytest
from gates import running
from playbook import Answers, play
from servers import Peer, connect
from stores import Clock

from llmgate.exchange import Exchange, Principal
from llmgate.middleware import RateLimit
from llmgate.middleware.ratelimit import Limit
from llmgate.ratelimit.headers import LIMIT_HEADERS, Standing, duration
from llmgate.ratelimit.memory import MemoryStorage

CHAT = json.dumps(
    {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}
).encode()
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
ANN = Principal(1, "ann", key_id=7)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, b"0s"),
        (-1, b"0s"),
        (0.01, b"1s"),
        (59.2, b"1m0s"),
        (360, b"6m0s"),
        (3601, b"1h0m1s"),
        (90_000, b"25h0m0s"),
    ],
)
def test_a_reset_is_a_duration_in_gos_words(seconds: float, written: bytes) -> None:
    assert duration(seconds) == written


def test_what_never_starts_anew_has_no_reset() -> None:
    assert [name for name, _ in Standing("tokens", 10, 3, float("inf")).pair()] == [
        b"x-ratelimit-limit-tokens",
        b"x-ratelimit-remaining-tokens",
    ]


def limiter(*limits: Limit, answers: Answers | None = None) -> RateLimit:
    clock = Clock(1000.0)
    return RateLimit(answers or Answers(), limits=limits, storage=MemoryStorage(timer=clock), clock=clock)


async def told(app: RateLimit) -> dict[str, str]:
    exchange = Exchange("1", 0.0, principal=ANN)
    answered = await play(app, llmgate=exchange)
    headers = [(name.decode(), value.decode()) for name, value in answered.headers]
    assert len(headers) == len(dict(headers))
    return dict(headers)


async def test_requests_and_tokens_are_told_apart_and_the_tightest_of_all_besides() -> None:
    app = limiter(
        Limit("key", "requests", 5, 60), Limit("user", "requests", 100, 3600), Limit("key", "tokens", 40, 300)
    )
    assert await told(app) == {
        "x-ratelimit-limit": "5",
        "x-ratelimit-remaining": "4",
        "x-ratelimit-reset": "1060",
        "x-ratelimit-limit-requests": "5",
        "x-ratelimit-remaining-requests": "4",
        "x-ratelimit-reset-requests": "1m0s",
        "x-ratelimit-limit-tokens": "40",
        "x-ratelimit-remaining-tokens": "40",
        "x-ratelimit-reset-tokens": "0s",
    }


async def test_a_refusal_tells_the_pair_of_what_refused() -> None:
    app = limiter(Limit("key", "requests", 1, 60))
    await told(app)
    refused = await told(app)
    assert refused["x-ratelimit-remaining-requests"] == "0"
    assert refused["x-ratelimit-reset-requests"] == "1m0s"


async def sells_elsewhere(peer: Peer) -> None:
    """A hosted backend, which tells where the gate's own account stands."""
    while True:
        await peer.request()
        said = [f"{name}: 9999".encode() for name in LIMIT_HEADERS] + [b"content-type: application/json"]
        body = json.dumps({"choices": [], "usage": USAGE}).encode()
        await peer.answer(body, headers=b"\r\n".join(said) + b"\r\n")


async def test_a_whole_gate_tells_windows_and_quotas_and_each_once(tmp_path: Path, sqlite_url: str) -> None:
    store = Path(sqlite_url.removeprefix("sqlite:///"))
    limits = [{"per": "key", "requests": 9, "window": "minute"}]
    quotas = [{"per": "user", "tokens": 500, "window": "day"}, {"per": "user", "requests": 5}]
    async with running(tmp_path, store, sells_elsewhere, limits=limits, quotas=quotas) as served:
        heads = []
        for _ in range(2):
            async with connect(served.url) as client:
                await client.send(served.request(CHAT))
                head, _ = await client.response()
            heads.append(
                [line.split(": ") for line in head.decode().lower().split("\r\n")[1:] if ": " in line]
            )
    first, second = map(dict, heads)
    assert all(len(head) == len(dict(head)) for head in heads)
    assert first["x-ratelimit-remaining-requests"] == "8"
    assert (first["x-ratelimit-limit-tokens"], first["x-ratelimit-remaining-tokens"]) == ("500", "500")
    assert second["x-ratelimit-remaining-tokens"] == "482"
    assert second["x-ratelimit-reset-tokens"].endswith("s")
    assert second["x-ratelimit-limit"] == "9"


async def test_a_spent_quota_tells_what_is_left(tmp_path: Path, sqlite_url: str) -> None:
    store = Path(sqlite_url.removeprefix("sqlite:///"))
    async with (
        running(tmp_path, store, limits=[], quotas=[{"per": "user", "tokens": 3}]) as served,
        connect(served.url) as client,
    ):
        await client.send(served.request(CHAT))
        head, _ = await client.response()
    assert head.startswith(b"HTTP/1.1 429")
    assert b"x-ratelimit-limit-tokens: 3" in head.lower()
    assert b"x-ratelimit-remaining-tokens: 3" in head.lower()
