"""Passwords: the rules for new ones, and what verifying them gives away (nothing)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgate.errors import BadRequest
from llmgate.identity import PasswordRules, Passwords

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


@settings(max_examples=50, deadline=None)
@given(right=st.text(min_size=1), wrong=st.text())
def test_only_the_password_itself_verifies(right: str, wrong: str) -> None:
    import asyncio
    import unicodedata

    async def scenario() -> None:
        passwords = Passwords(hasher=CHEAP)
        stored = await passwords.hash(right)
        assert await passwords.verify(stored, right)
        same = unicodedata.normalize("NFC", right) == unicodedata.normalize("NFC", wrong)
        assert await passwords.verify(stored, wrong) == same

    asyncio.run(scenario())
