"""What tokens cost: rounded up, cached input cheaper or dearer, and never more than was bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.ledger import Price, Prices
from llmgate.ledger.prices import FREE
from llmgate.usage.model import Usage

money = st.floats(0, 1000)
prices = st.builds(Price, money, money, st.none() | money)
counts = st.integers(0, 2**31)


@pytest.mark.parametrize(
    ("price", "usage", "cost"),
    [
        (Price(1.0, 2.0), Usage(10, 5), 20),
        (Price(0.15, 0.6), Usage(1, 0), 1),  # nothing is free
        (Price(2.0, 0.0, 0.5), Usage(10, 0, cached_tokens=4), 14),
        (Price(2.0, 0.0), Usage(10, 0, cached_tokens=4), 20),
        (Price(1.0, 0.0, 0.0), Usage(3, 0, cached_tokens=9), 0),  # more cached than there was
        (FREE, Usage(10**9, 10**9), 0),
    ],
)
def test_the_cost_of_an_answer(price: Price, usage: Usage, cost: int) -> None:
    assert price.of(usage) == cost


@given(prices, counts, counts, counts)
def test_no_answer_costs_more_than_its_bound(price: Price, taken: int, made: int, cached: int) -> None:
    """Whatever part of the prompt comes from a cache: what is held is enough."""
    assert price.of(Usage(taken, made, cached_tokens=cached)) <= price.bound(taken, made)


@given(st.builds(Price, st.integers(0, 1000), st.integers(0, 1000)), st.integers(0, 2**40), counts)
def test_what_money_still_buys_is_affordable_and_no_token_less(price: Price, left: int, taken: int) -> None:
    output = price.output_within(left, taken)
    if output == -1:
        assert price.bound(taken, 0) > left
    elif output is not None:
        assert price.bound(taken, output) <= left
        assert price.bound(taken, output + 1) > left


def test_a_model_without_a_price_has_that_of_every_model() -> None:
    listed = Prices({"small": Price(1.0, 1.0), "*": Price(5.0, 5.0)})
    assert (listed.of("small").input, listed.of("other").input) == (1.0, 5.0)
    assert Prices({}).of("other") is FREE
    assert listed.of("Small ").input == 1.0  # the same model, to Ollama and Azure
    assert Prices({"small": Price(1.0, 1.0)}).of("other") is FREE


def test_a_second_of_the_engine_has_a_price_and_is_rounded_up() -> None:
    price = Price(input=1.0, second=0.5)
    assert price.of(Usage(10, 5), 2.0) == 10 + 1_000_000
    assert price.of(Usage(0, 0), 1e-9) == 1
    assert price.of(Usage(10, 5)) == 10
    assert Prices({"a": Price(second=1.0), "b": Price(second=2.0)}).dearest(["a", "b"]).second == 2.0
