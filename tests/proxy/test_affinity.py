"""A prompt goes where its head is known, unless that replica is too busy."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from llmgate.proxy.affinity import BLOCK, MAX_BLOCKS, PrefixAffinity, heads_of

IDLE = {"a": 0, "b": 0, "c": 0}


def test_a_head_is_hashed_in_whole_blocks_each_with_all_before_it() -> None:
    first = heads_of(b"x" * BLOCK + b"y" * BLOCK + b"rest")
    second = heads_of(b"x" * BLOCK + b"z" * BLOCK)
    third = heads_of(b"w" * BLOCK + b"y" * BLOCK)
    assert len(first) == 2
    assert first[0] == second[0]
    assert first[1] not in (second[1], third[1])


def test_two_models_share_no_head() -> None:
    assert heads_of(b"x" * BLOCK, salt=b"one") != heads_of(b"x" * BLOCK, salt=b"two")


def test_a_long_prompt_costs_no_more_than_its_head() -> None:
    assert len(heads_of(b"x" * BLOCK * 1000)) == MAX_BLOCKS


def test_the_next_turn_of_a_chat_goes_to_the_replica_that_saw_the_last() -> None:
    affinity: PrefixAffinity[str] = PrefixAffinity()
    turn = b"system prompt " * 100
    first = affinity.choose(heads_of(turn), IDLE)
    busy = {**IDLE, first: 0, "c": 1} if first != "c" else IDLE
    assert affinity.choose(heads_of(turn + b"and the answer" * 100), busy) == first


def test_workers_that_never_talk_agree_on_a_head_that_nobody_has_seen() -> None:
    heads = heads_of(b"a system prompt that all share " * 100)
    chosen = {PrefixAffinity[str]().choose(heads, IDLE) for _ in range(5)}
    assert len(chosen) == 1


def test_a_replica_that_is_too_busy_is_spared_and_the_next_one_learns_the_head() -> None:
    affinity: PrefixAffinity[str] = PrefixAffinity()
    heads = heads_of(b"x" * 5000)
    first = affinity.choose(heads, IDLE)
    second = affinity.choose(heads, {**IDLE, first: 10})
    assert second != first
    assert affinity.choose(heads, IDLE) == second


def test_a_prompt_without_a_head_goes_to_the_least_busy() -> None:
    assert PrefixAffinity[str]().choose([], {"a": 2, "b": 1, "c": 3}) == "b"


def test_memory_is_bounded_and_keeps_what_was_used_last() -> None:
    affinity: PrefixAffinity[str] = PrefixAffinity(max_heads=4)
    for letter in b"abcdefgh":
        affinity.choose(heads_of(bytes([letter]) * BLOCK), IDLE)
    assert len(affinity) == 4


@given(
    st.lists(st.binary(max_size=4 * BLOCK), max_size=30),
    st.dictionaries(st.integers(0, 9), st.integers(0, 50), min_size=1),
)
def test_nobody_gets_more_than_the_bound_however_the_prompts_fall(
    prompts: list[bytes], loads: dict[int, int]
) -> None:
    affinity: PrefixAffinity[int] = PrefixAffinity()
    for prompt in prompts:
        chosen = affinity.choose(heads_of(prompt), loads)
        bound = math.ceil(1.25 * (sum(loads.values()) + 1) / len(loads))
        assert loads[chosen] < bound or loads[chosen] == min(loads.values())
        loads[chosen] += 1
