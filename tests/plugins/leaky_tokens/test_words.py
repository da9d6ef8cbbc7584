"""The guide's words: roles, and the shape of every error."""

import msgspec
import pytest
from stores import Clock

from llmgate.errors import BadRequest, RateLimited, Refusal, Unavailable, UpstreamFailed
from llmgate_leaky_tokens.words import (
    InsufficientQuota,
    ProviderFailed,
    ProviderUnavailable,
    guides_shape,
    roles_of,
)
from plugins.leaky_tokens.gate import NOON

NOW = "2026-02-05T12:00:00Z"
UPSTREAM = UpstreamFailed("no replica", status=503, headers=[(b"retry-after", b"7")])


def test_everybody_is_a_user() -> None:
    """Other roles come behind it, each once."""
    assert roles_of([]) == ["USER"]
    assert roles_of(["user", "lead", "admin"]) == ["USER", "ADMIN", "LEAD"]


@pytest.mark.parametrize(
    ("refusal", "status", "body"),
    [
        (BadRequest("bad"), 400, {"message": "bad", "timestamp": NOW}),
        (InsufficientQuota(), 402, {"message": "insufficient token quota", "timestamp": NOW}),
        (
            RateLimited("slow", retry_after=3),
            429,
            {"message": "slow", "timestamp": NOW, "waitSeconds": 3},
        ),
        (ProviderFailed(), 502, {"message": "provider call failed", "timestamp": NOW}),
        (
            ProviderUnavailable("openai", UPSTREAM),
            503,
            {
                "service": "openai",
                "status": "UNAVAILABLE",
                "message": "openai is not available at the moment",
                "timestamp": NOW,
            },
        ),
        (
            Unavailable("stopping"),
            503,
            {"service": "gateway", "status": "UNAVAILABLE", "message": "stopping", "timestamp": NOW},
        ),
    ],
)
def test_an_error_says_when_and_what(refusal: Refusal, status: int, body: dict[str, object]) -> None:
    """And which service it is of, where one is not available."""
    told, headers, raw = guides_shape(Clock(NOON))(refusal)
    assert (told, msgspec.json.decode(raw)) == (status, body)
    assert headers == [(b"content-type", b"application/json"), *refusal.headers]


def test_a_provider_that_is_away_says_when_to_come_back() -> None:
    """As its upstream does."""
    assert (b"retry-after", b"7") in ProviderUnavailable("openai", UPSTREAM).headers
