"""The rules between settings, all of them, and those of the gate itself."""

from typing import Any

import pytest

from llmgate.config import rules
from llmgate.config.rules import RULES

from .rule_cases import BROKEN_RULES, KEPT, broken, problems_of, rules_of


@pytest.mark.parametrize("rule", rules_of(rules))
def test_a_gate_that_keeps_the_rule_is_good(rule: str) -> None:
    """The nearest thing to a broken rule that is not."""
    assert problems_of(**KEPT[rule]) == []


@pytest.mark.parametrize(("tables", "problem"), broken(rules))
def test_a_broken_rule_is_the_one_problem(tables: dict[str, Any], problem: str) -> None:
    """At its place, with what was found and the remedy."""
    assert problems_of(**tables) == [problem]


def test_the_gate_of_these_tests_is_good() -> None:
    """So every problem below comes from what is changed."""
    assert problems_of() == []


def test_every_rule_is_tested_both_ways() -> None:
    """A rule that is added comes with a case that keeps it and one that breaks it."""
    names = {rule.__name__ for rules in RULES.values() for rule in rules}
    assert names == set(KEPT) == {case[0] for case in BROKEN_RULES}
