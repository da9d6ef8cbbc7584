"""How the guide writes errors, times and ids."""

import json

import pytest

from llmgate.errors import BadRequest, MethodNotAllowed, NotFound, Refusal, Unauthenticated
from llmgate.exchange import Principal
from llmgate_platform.shapes import Invalid, Missing, guides_shape, iso, iso_or_none, may_use


@pytest.mark.parametrize(
    ("refusal", "status", "error"),
    [
        (Unauthenticated("x", code="missing_api_key"), 401, "API key required"),
        (Unauthenticated("x"), 401, "Invalid API key"),
        (NotFound("There is nothing at GET /x."), 404, "Resource not found"),
        (Missing("API key not found"), 404, "API key not found"),
        (MethodNotAllowed("x", allowed=["GET"]), 405, "Method not allowed"),
        (BadRequest("body: not JSON"), 400, "JSON data required"),
        (Invalid("top_k", "too low"), 400, "Invalid value for top_k: too low"),
    ],
)
def test_every_error_is_flat_and_in_the_guides_words(refusal: Refusal, status: int, error: str) -> None:
    answered, headers, body = guides_shape(refusal)
    assert (answered, json.loads(body)) == (status, {"error": error})
    assert (b"content-type", b"application/json") in headers


def test_times_have_six_digits_always() -> None:
    assert iso(1_750_775_040.0) == "2025-06-24T14:24:00.000000"
    assert iso_or_none(1_750_775_040.25) == "2025-06-24T14:24:00.250000"
    assert iso_or_none(None) is None


def test_what_is_nobodys_is_everybodys_and_admins_see_all() -> None:
    ada, admin = Principal(1, "ada"), Principal(2, "root", frozenset({"admin"}))
    assert may_use(None, ada)
    assert may_use(1, ada)
    assert not may_use(2, ada)
    assert may_use(1, admin)
