"""Passwords: the rules for new ones, and what verifying them gives away (nothing)."""

import unicodedata
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgate.errors import BadRequest
from llmgate.identity import PasswordRules, Passwords, passwords

from .conftest import CHEAP


@pytest.mark.parametrize(
    ("rules", "password", "message"),
    [
        (PasswordRules(), "seven77", "at least 8 characters"),
        (PasswordRules(min_length=0), "", "at least 1 characters"),
        (PasswordRules(max_bytes=72), "x" * 73, "at most 72 bytes"),
        (PasswordRules(max_bytes=72), "é" * 37, "at most 72 bytes"),
        (PasswordRules(), "x" * 5000, "at most 4096 bytes"),
        (PasswordRules(), "\ud800" * 8, "not text"),
        (PasswordRules(), "a" + "\u0301" * 31, "not text"),
    ],
)
def test_a_password_that_breaks_a_rule_is_refused_by_that_rule(
    rules: PasswordRules, password: str, message: str
) -> None:
    with pytest.raises(BadRequest, match=message) as refused:
        rules.check(password)
    assert refused.value.param == "password"


def test_rules_are_met_at_their_very_edge() -> None:
    PasswordRules(min_length=5).check("admin")
    PasswordRules(max_bytes=72).check("é" * 36)


async def test_the_hash_is_argon2id_and_salted() -> None:
    passwords = Passwords()
    one, two = await passwords.hash("secret-1"), await passwords.hash("secret-1")
    assert one.startswith("$argon2id$v=19$m=65536,t=3,")
    assert one != two
    assert await passwords.verify(one, "secret-1")


async def test_a_stored_hash_that_is_none_verifies_nothing() -> None:
    assert not await Passwords(hasher=CHEAP).verify("plain text from an import", "plain text from an import")


async def test_the_same_letters_from_another_keyboard_are_the_same_password() -> None:
    passwords = Passwords(hasher=CHEAP)
    assert await passwords.verify(await passwords.hash("se\u0301same-1"), "s\u00e9same-1")


@pytest.mark.parametrize(
    "password",
    ["a" + "\u0301\u0327" * 500_000, "a" * 1_000_000, "\u0301" * 4096],
    ids=["many marks", "many letters", "some marks"],
)
async def test_what_would_take_long_to_bring_into_order_is_not_looked_at(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one request with a megabyte of accents, Unicode's normal form takes minutes."""
    monkeypatch.setattr(passwords, "unicodedata", SimpleNamespace(combining=unicodedata.combining))
    assert not await Passwords(hasher=CHEAP).verify(None, password)
    with pytest.raises(BadRequest):
        PasswordRules().check(password)


async def test_thirty_marks_on_a_letter_are_text() -> None:
    passwords = Passwords(hasher=CHEAP)
    marked = "pass" + "\u0301" * 30 + "word"
    assert await passwords.verify(await passwords.hash(marked), marked)


@settings(max_examples=50, deadline=None)
@given(right=st.text(min_size=1), wrong=st.text())
def test_only_the_password_itself_verifies(right: str, wrong: str) -> None:
    import asyncio

    async def scenario() -> None:
        passwords = Passwords(hasher=CHEAP)
        stored = await passwords.hash(right)
        assert await passwords.verify(stored, right)
        same = unicodedata.normalize("NFC", right) == unicodedata.normalize("NFC", wrong)
        assert await passwords.verify(stored, wrong) == same

    asyncio.run(scenario())
