"""The simulation of many replicas says that prompts with a known head are read less."""

from __future__ import annotations

import random

from benchmarks.balancing import policies, simulate, trace

REPLICAS = 8


def test_choosing_by_prefix_reads_less_than_any_choice_that_does_not_look_at_the_prompt() -> None:
    requests = list(trace(1_500, 20.0, random.Random(1)))
    cached = {
        name: simulate(requests, choose, REPLICAS)[0]
        for name, choose in policies(REPLICAS, random.Random(1)).items()
    }
    assert cached["prefix"] > 1.3 * max(cached["random"], cached["round robin"], cached["least busy"])


def test_every_request_is_answered_once() -> None:
    requests = list(trace(300, 200.0, random.Random(2)))
    _, waits = simulate(requests, lambda *_: 0, REPLICAS)
    assert len(waits) == len(requests)
    assert min(waits) >= 0
