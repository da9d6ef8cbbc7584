"""The simulation of a flood: who sends one request a second hardly notices, for as long as it lasts."""

from __future__ import annotations

import random

import pytest
from benchmarks.fairness import ANSWER_S, FIRST_COME, one_a_second, p95, simulate

FLOOD = 200


@pytest.mark.parametrize("places", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_the_p95_beside_a_flood_of_200_is_within_twice_of_what_it_is_alone(places: int, seed: int) -> None:
    singles = one_a_second(400, random.Random(seed))
    alone = p95(simulate(singles, flood=0, places=places))
    beside = p95(simulate(singles, flood=FLOOD, places=places, seed=seed))
    assert alone < beside <= 2 * alone


def test_without_fairness_it_would_wait_for_the_whole_flood() -> None:
    singles = one_a_second(100, random.Random(1))
    took = simulate(singles, flood=FLOOD, places=1, line=FIRST_COME)
    assert min(took) > 0.5 * FLOOD * sum(ANSWER_S) / 2


def test_alone_each_takes_what_it_takes_and_is_answered_once() -> None:
    singles = one_a_second(50, random.Random(2))
    took = simulate(singles, flood=0, places=2)
    assert sorted(took) == pytest.approx(sorted(request.takes for request in singles))
