"""Deciding who may spend what, without I/O: accounts, demands on them, and holds.

An account is one quota as this process sees it: the allowance that the store has leased to the process,
less what running requests hold. Everything here is synchronous, so a decision over several accounts is
atomic within the process; between processes the leases keep the sum right (see `leases`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .model import Allotment, Charge, Subject, Unit, UsageRecord
from .prices import FREE, Price


@dataclass(slots=True)
class Account:
    """One quota of one subject. `allowance` was leased to this process and is not spent; `held` is part of it.

    `whole` says that no more of it can be leased from anywhere.
    """

    quota_id: int
    subject: Subject
    allotment: Allotment
    window_start: float
    window_end: float
    allowance: int = 0
    held: int = 0
    used: int = 0
    whole: bool = False

    @property
    def room(self) -> int:
        """What a new request may hold."""
        return self.allowance - self.held

    def covers(self, upstream: str, model: str) -> bool:
        """Whether a request for `model` on `upstream` draws on this account."""
        allotment = self.allotment
        return allotment.upstream in ("", upstream) and allotment.model in ("", model)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request may use at the most.

    `input` bounds its prompt's tokens. `output` bounds each of its `choices`: 0 where nothing is generated,
    None where the request names no bound and none is known.
    """

    input: int
    output: int | None = 0
    choices: int = 1
    price: Price = FREE

    def output_within(self, account: Account) -> int | None:
        """The output tokens that `account` has room for besides the input; None for any number, -1 for none."""
        room = account.room
        match account.allotment.unit:
            case Unit.TOKENS:
                return max(-1, room - self.input)
            case Unit.REQUESTS:
                return None if room >= 1 else -1
            case Unit.MONEY:
                if room < self.price.bound(self.input, 0) or room <= 0:
                    return -1
                return self.price.output_within(room, self.input)

    def amount(self, unit: Unit, output: int) -> int:
        """What has to be held in `unit` for `output` tokens in all."""
        match unit:
            case Unit.TOKENS:
                return self.input + output
            case Unit.REQUESTS:
                return 1
            case Unit.MONEY:
                return self.price.bound(self.input, output)


@dataclass(slots=True)
class Hold:
    """What a running request has put aside, account by account, until it is settled or released.

    `max_output` is what each choice may generate where that had to be lowered from what was asked for,
    else None.
    """

    amounts: tuple[tuple[Account, float, int], ...] = ()
    max_output: int | None = None
    open: bool = True

    def release(self) -> None:
        """Give everything back. Does nothing the second time."""
        if self.open:
            self.open = False
            for account, window_start, amount in self.amounts:
                if account.window_start == window_start:
                    account.held -= amount

    def settle(self, record: UsageRecord) -> tuple[Charge, ...]:
        """Give everything back but what `record` says was used, and return that as charges."""
        if not self.open:
            return ()
        self.release()
        charges = []
        for account, window_start, _ in self.amounts:
            spent = _spent(account.allotment.unit, record)
            if spent:
                charges.append(Charge(account.quota_id, window_start, spent))
                if account.window_start == window_start:
                    account.allowance -= spent
                    account.used += spent
        return tuple(charges)


def place_hold(accounts: Sequence[Account], demand: Demand) -> Hold | Account:
    """Hold `demand` on all of `accounts` or on none.

    Where there is room for the input and only part of the output, the hold lowers the output to what fits.
    Returns the account that is short where not even one token of output per choice fits.
    """
    if not accounts:
        return Hold()
    wanted = None if demand.output is None else demand.output * demand.choices
    needed = 0 if wanted == 0 else demand.choices
    fitting = wanted
    for account in accounts:
        within = demand.output_within(account)
        if within is not None:
            if within < needed:
                return account
            fitting = within if fitting is None else min(fitting, within)
    output = 0 if fitting is None else fitting // demand.choices
    lowered = fitting is not None and fitting != wanted
    return _held(accounts, demand, output, lowered=lowered)


def _held(accounts: Iterable[Account], demand: Demand, output: int, *, lowered: bool) -> Hold:
    amounts = []
    for account in accounts:
        amount = demand.amount(account.allotment.unit, output * demand.choices)
        account.held += amount
        amounts.append((account, account.window_start, amount))
    return Hold(tuple(amounts), output if lowered else None)


def _spent(unit: Unit, record: UsageRecord) -> int:
    match unit:
        case Unit.TOKENS:
            return record.input_tokens + record.output_tokens if record.booked is None else record.booked
        case Unit.REQUESTS:
            return int(record.outcome not in ("failed", "refused"))
        case Unit.MONEY:
            return record.cost
