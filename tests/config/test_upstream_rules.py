"""Rules for upstreams, models and targets."""

from typing import Any

import pytest

from llmgate.config import upstream_rules

from .rule_cases import KEPT, broken, problems_of, rules_of


@pytest.mark.parametrize("rule", rules_of(upstream_rules))
def test_a_gate_that_keeps_the_rule_is_good(rule: str) -> None:
    """The nearest thing to a broken rule that is not."""
    assert problems_of(**KEPT[rule]) == []


@pytest.mark.parametrize(("tables", "problem"), broken(upstream_rules))
def test_a_broken_rule_is_the_one_problem(tables: dict[str, Any], problem: str) -> None:
    """At its place, with what was found and the remedy."""
    assert problems_of(**tables) == [problem]
