"""Codes and links: once, for a while, a few tries; on both stores."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from stores import Clock, clock, migrated_file, migrated_postgres, sqlite_url, store, store_url

from llmgate.plugin.kit.one_time_codes import (
    ALPHABET,
    REMEMBERED,
    Issued,
    OneTimeCodes,
    OneTimeLinks,
    Redeemed,
    Verdict,
    forget_expired,
    keyed_hash,
    normalize,
    one_time_secrets,
)
from llmgate.store import Store

__all__ = ["clock", "migrated_file", "migrated_postgres", "sqlite_url", "store", "store_url"]

KEY = b"k" * 32
ANN, BOB = "ann@example.com", "bob@example.com"
TABLE = one_time_secrets("test_secrets", sa.MetaData())


@pytest.fixture
async def codes(store: Store) -> AsyncIterator[OneTimeCodes]:
    async with store.begin() as db:
        await db.run_sync(TABLE.metadata.create_all)
    yield OneTimeCodes(store, TABLE, purpose="sign in", key=KEY)
    async with store.begin() as db:
        await db.run_sync(TABLE.metadata.drop_all)


@pytest.fixture
def links(store: Store, codes: OneTimeCodes) -> OneTimeLinks:
    return OneTimeLinks(store, TABLE, purpose="link", key=KEY)


async def rows(store: Store) -> list[dict[str, Any]]:
    async with store.connect() as db:
        return [dict(row) for row in (await db.execute(sa.select(TABLE))).mappings()]


async def test_a_code_has_eight_characters_and_opens_once(codes: OneTimeCodes) -> None:
    code = await codes.issue(ANN)
    assert len(code) == 8 and set(code) <= set(ALPHABET)
    assert await codes.redeem(ANN, code)
    assert not await codes.redeem(ANN, code)


async def test_people_may_type_it_in_small_letters_and_groups(codes: OneTimeCodes) -> None:
    code = await codes.issue(ANN)
    assert await codes.redeem(ANN, f" {code[:4].lower()}-{code[4:].lower()} ")


async def test_it_is_nobody_elses(codes: OneTimeCodes) -> None:
    code = await codes.issue(ANN)
    await codes.issue(BOB)
    assert not await codes.redeem(BOB, code)
    assert await codes.redeem(ANN, code)


async def test_the_newest_replaces_those_before(codes: OneTimeCodes) -> None:
    first, second = await codes.issue(ANN), await codes.issue(ANN)
    assert not await codes.redeem(ANN, first)
    assert await codes.redeem(ANN, second)


@pytest.mark.parametrize(("seconds", "good"), [(599.9, True), (600, False), (1e9, False)])
async def test_it_expires(codes: OneTimeCodes, clock: Clock, seconds: float, good: bool) -> None:
    code = await codes.issue(ANN)
    clock.pass_by(seconds)
    assert await codes.redeem(ANN, code) is good


@pytest.mark.parametrize(("wrong", "good"), [(4, True), (5, False)])
async def test_five_wrong_tries_kill_it(codes: OneTimeCodes, wrong: int, good: bool) -> None:
    code = await codes.issue(ANN)
    for _ in range(wrong):
        assert not await codes.redeem(ANN, "0" * 8 if code != "0" * 8 else "1" * 8)
    assert await codes.redeem(ANN, code) is good


async def test_of_many_who_come_at_once_with_the_same_code_one_gets_in(codes: OneTimeCodes) -> None:
    code = await codes.issue(ANN)
    assert sorted(await asyncio.gather(*(codes.redeem(ANN, code) for _ in range(5)))) == [False] * 4 + [True]


async def test_the_store_holds_no_code(codes: OneTimeCodes, store: Store) -> None:
    code = await codes.issue(ANN)
    (row,) = await rows(store)
    assert code not in str(row)
    assert row["hash"] == keyed_hash(KEY, "sign in", ANN, code) != keyed_hash(b"", "sign in", ANN, code)


@pytest.mark.parametrize("code", ["", "\0", "\ud800", "ÄÖÜ", "A" * 10_000])
async def test_what_can_be_no_code_is_wrong(codes: OneTimeCodes, code: str) -> None:
    await codes.issue(ANN)
    assert not await codes.redeem(ANN, code)


async def test_without_a_code_nothing_is_right(codes: OneTimeCodes) -> None:
    assert not await codes.redeem(ANN, "ABCD1234")


async def test_a_link_opens_once(links: OneTimeLinks) -> None:
    one, other = await links.issue(ANN, lifetime=3600), await links.issue(ANN, lifetime=3600)
    assert await links.redeem(one) == Redeemed(ANN, expired=False)
    assert await links.redeem(one) is None
    assert await links.redeem(other) == Redeemed(ANN, expired=False)


async def test_a_link_that_comes_too_late_says_whose_it_was_once(links: OneTimeLinks, clock: Clock) -> None:
    secret = await links.issue(ANN, lifetime=3600)
    clock.pass_by(3600)
    assert await links.redeem(secret) == Redeemed(ANN, expired=True)
    assert await links.redeem(secret) is None


async def test_a_code_is_no_link_and_a_link_no_code(links: OneTimeLinks, codes: OneTimeCodes) -> None:
    code, secret = await codes.issue(ANN), await links.issue(BOB, lifetime=3600)
    assert await links.redeem(code) is None
    assert not await codes.redeem(BOB, secret)


async def test_what_expired_long_ago_is_forgotten(
    links: OneTimeLinks, codes: OneTimeCodes, store: Store, clock: Clock
) -> None:
    await codes.issue(ANN)
    clock.pass_by(REMEMBERED)
    kept = await links.issue(ANN, lifetime=3600)
    clock.pass_by(601)
    assert await forget_expired(store, TABLE) == 1
    assert await links.redeem(kept) is not None


@given(st.text(), st.integers(), st.floats(0, 10), st.floats(0, 10))
def test_only_the_right_one_in_time_with_tries_left_is_good(
    presented: str, tries: int, expires_at: float, now: float
) -> None:
    presented = keyed_hash(KEY, presented)
    verdict = Issued(keyed_hash(KEY, "right"), tries, expires_at).judge(presented, now)
    right = presented == keyed_hash(KEY, "right")
    assert (verdict is Verdict.GOOD) == (right and tries > 0 and now < expires_at)


@given(st.text(alphabet=ALPHABET), st.text(alphabet=" -\t"))
def test_case_and_separators_do_not_matter(code: str, between: str) -> None:
    assert normalize(between.join(code.lower())) == code


def test_parts_that_join_to_the_same_text_hash_apart() -> None:
    assert keyed_hash(KEY, "ab", "c") != keyed_hash(KEY, "a", "bc")
