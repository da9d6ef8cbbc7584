"""What each refusal is called, and what it brings along."""

import pytest

from llmgate import errors
from llmgate.errors import (
    ConfigError,
    GateError,
    MethodNotAllowed,
    QuotaExhausted,
    QuotaHeld,
    RateLimited,
    Refusal,
    Unauthenticated,
    UpstreamFailed,
    extra_remedy,
)

REFUSALS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Refusal)]


@pytest.mark.parametrize("kind", REFUSALS, ids=lambda kind: kind.__name__)
def test_every_refusal_is_an_error_status_with_a_label_for_the_metrics(kind: type[Refusal]) -> None:
    assert issubclass(kind, GateError)
    assert 400 <= kind.status < 600
    assert kind.reason.isidentifier()


def test_one_refusal_may_have_another_status_and_code_than_its_class() -> None:
    late = UpstreamFailed("too slow", status=504, code="timeout")
    assert (late.answer_status, late.answer_code) == (504, "timeout")
    assert (UpstreamFailed("gone").answer_status, UpstreamFailed("gone").answer_code) == (
        502,
        "upstream_error",
    )


def test_what_is_spent_is_not_tried_again_and_what_is_held_is() -> None:
    """Clients retry a 429 with Retry-After, and nothing that says that they should not."""
    spent, held = QuotaExhausted("", unit="tokens", used=9, limit=9), QuotaHeld("", retry_after=3)
    assert spent.headers == [(b"x-should-retry", b"false")]
    assert (held.answer_status, held.headers) == (429, [(b"retry-after", b"3")])
    assert RateLimited("", retry_after=7).headers == [(b"retry-after", b"7")]


def test_headers_that_a_status_asks_for_are_there() -> None:
    """RFC 9110, 15.5.2 and 15.5.6."""
    assert (b"www-authenticate", b"Bearer") in Unauthenticated("").headers
    assert MethodNotAllowed("", allowed={"PUT", "GET"}).headers == [(b"allow", b"GET, PUT")]


def test_a_file_with_several_problems_has_a_line_for_each() -> None:
    error = ConfigError(iter(["a: wrong", "b: wrong"]))
    assert error.problems == ["a: wrong", "b: wrong"]
    assert str(error) == "a: wrong\nb: wrong"


def test_the_remedy_for_a_missing_package_is_a_command_in_a_checkout() -> None:
    assert "pip install '.[cluster]'" in extra_remedy("cluster")
