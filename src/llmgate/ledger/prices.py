"""What tokens cost: prices per model from gate.toml, in money per million tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..usage.model import Usage

MILLION = 1_000_000
EXACT = 2**53
"""Up to here floats count whole numbers without a gap."""


@dataclass(frozen=True, slots=True)
class Price:
    """Money per million tokens, which is also millionths of it per token. `cached_input` is `input` if None.

    `second` is money per second at an engine; it is charged when the answer has ended, and held for nobody before.
    """

    input: float = 0.0
    output: float = 0.0
    cached_input: float | None = None
    second: float = 0.0

    def of(self, usage: Usage, seconds: float = 0.0) -> int:
        """The cost of `usage` in millionths of the currency unit, rounded up so that nothing is free.

        `seconds` are those that an engine has worked for it.
        """
        if self is FREE:
            return 0
        cached_price = self.input if self.cached_input is None else self.cached_input
        cached = min(usage.cached_tokens, usage.input_tokens)
        fresh = usage.input_tokens - cached
        tokens = fresh * self.input + cached * cached_price + usage.output_tokens * self.output
        return _round_up(tokens + seconds * self.second * MILLION)

    def bound(self, input_tokens: int, output_tokens: int) -> int:
        """The most that so many tokens can cost, whatever part of them comes from a cache."""
        dearest = max(self.input, self.cached_input or 0.0)
        return _round_up(input_tokens * dearest + output_tokens * self.output)

    def output_within(self, money: int, input_tokens: int) -> int | None:
        """How many tokens of output `money` still buys after the input; None for any number, -1 for none.

        What costs nothing may be had with nothing left.
        """
        cost = self.bound(input_tokens, 0)
        if cost > max(0, money):
            return -1
        if self.output == 0:
            return None
        output = int(min(EXACT, max(0, min(money, EXACT) - cost) / self.output))
        return output if self.bound(input_tokens, output) <= max(0, money) else output - 1


FREE = Price()


@dataclass(frozen=True, slots=True)
class Prices:
    """The price list: by model name, with "*" for every model that is not named."""

    by_model: Mapping[str, Price]

    def of(self, model: str) -> Price:
        """The price of `model`; free where the list names neither it nor "*".

        A name in other letters is that of the same model to some upstreams (Ollama, Azure), so "*" is not its price.
        """
        if not self.by_model:
            return FREE
        price = self.by_model.get(model)
        return price if price is not None else self._unnamed(model)

    def _unnamed(self, model: str) -> Price:
        other = self.by_model.get("*", FREE)
        if len(self.by_model) < 2:
            return other
        folded = model.strip().casefold()
        return next((price for name, price in self.by_model.items() if name.casefold() == folded), other)

    def dearest(self, models: Iterable[str]) -> Price:
        """A price under which none of `models` costs more: what has to be held before it is known which answers."""
        prices = {self.of(model) for model in models}
        if len(prices) == 1:
            return prices.pop()
        cached = [price.input if price.cached_input is None else price.cached_input for price in prices]
        return Price(
            max((price.input for price in prices), default=0.0),
            max((price.output for price in prices), default=0.0),
            max(cached, default=0.0),
            max((price.second for price in prices), default=0.0),
        )


def _round_up(amount: float) -> int:
    whole = int(amount)
    return whole if whole == amount else whole + 1
