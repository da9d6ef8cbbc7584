"""What users, keys, organizations and roles may be called."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.errors import BadRequest
from llmgate.identity.validation import email_of, name_of


@pytest.mark.parametrize(
    "name",
    ["", " ann", "ann\n", "a\0b", "a\x1b[31m", "a\u202eb", "a\u200bb", "\ud800", "x" * 256, "a\u2028b"],
)
def test_names_that_could_deceive_are_refused(name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        name_of("username", name)
    assert refused.value.param == "username"


@pytest.mark.parametrize("name", ["a", "Ann Lee", "x" * 255, "赵", "😀", "o'brien; --", "a@b", "-", "0"])
def test_every_other_name_is_left_as_it_is(name: str) -> None:
    assert name_of("username", name) == name


def test_equal_looking_names_become_equal() -> None:
    assert name_of("username", "Zoe\u0301") == name_of("username", "Zo\u00e9")


@given(st.text(max_size=300))
def test_a_name_that_is_let_through_can_be_logged_and_stored(text: str) -> None:
    try:
        name = name_of("username", text)
    except BadRequest:
        return
    assert name_of("username", name) == name
    assert name.encode() and len(name.splitlines()) == 1 and "\0" not in name
    assert unicodedata.is_normalized("NFC", name)


@pytest.mark.parametrize(
    "email", ["", "ann", "@example.org", "ann@", "a b@example.org", "a@b@c", "x" * 251 + "@a.b", "a\n@b.c"]
)
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(BadRequest):
        email_of(email)


def test_addresses_are_the_same_in_either_case() -> None:
    assert email_of("Ann@Example.ORG") == "ann@example.org"
