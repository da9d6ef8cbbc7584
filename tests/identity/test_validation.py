"""What users, keys, organizations and roles may be called."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.errors import BadRequest
from llmgate.identity.validation import email_of, name_of, username_of


@pytest.mark.parametrize(
    "name",
    [
        *["", " ann", "ann\n", "a\0b", "a\x1b[31m", "a\u202eb", "a\u200bb", "\ud800", "x" * 256, "a\u2028b"],
        *["a\u034fb", "\u3164", "a\u115fb", "a\ufe0f", "a\u180eb", "a\ufffeb", "a\U000e0101"],
    ],
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


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Ann", "ann"),
        ("\uff21\uff4e\uff4e", "ann"),  # fullwidth
        ("ZO\u00c9", "zo\u00e9"),
        ("Zoe\u0301", "zo\u00e9"),
        ("\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03a3", "\u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2"),
        ("Ann Lee", "ann lee"),
        ("o'Brien; --", "o'brien; --"),
    ],
)
def test_spellings_of_a_users_name_are_one(written: str, name: str) -> None:
    assert username_of(written) == name == username_of(name)


@pytest.mark.parametrize(
    "name",
    [
        "\u0430nn",
        "ann  lee",
        "ann\u00a0lee",
        "\ufb01nn",  # a ligature
        "an\u00adn",  # a soft hyphen
        "an\u200dn",  # a joiner
        "1\u05d3\u05e0\u05d4",  # begins in the other direction
        "\u2170",  # a Roman numeral that is one character
        "\U0001f600",
        "",
        "x" * 256,
    ],
)
def test_a_users_name_passes_for_nobody_elses(name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        username_of(name)
    assert refused.value.param == "username"


@given(st.text(max_size=40))
def test_a_users_name_that_is_let_through_is_its_own_spelling(text: str) -> None:
    try:
        name = username_of(text)
    except BadRequest:
        return
    assert username_of(name) == name and name.lower() == name


def test_wide_letters_make_no_second_address() -> None:
    assert email_of("\uff21nn@example.org") == "ann@example.org"
