"""Deciding who may spend what, without I/O: accounts, demands on them, and holds.

An account is one window of one quota as this process sees it: what the store has leased to the process,
less what was spent and what running requests hold. Everything here is synchronous, so a decision over several
accounts is atomic within the process; between processes the leases keep the sum right (see `leases`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from .model import Allotment, Charge, Pledge, Subject, Unit, UsageRecord, amounts_of
from .prices import FREE, Price


@dataclass(slots=True, eq=False)
class Account:
    """One window of one quota: what was granted to worker `holder`, what it spent of that, and what is held.

    When its window is over an account is replaced, not emptied: what was held then must not come back to
    the next window. `fully_leased` says that no more of it can be leased from anywhere; `retry_lease_at` (seconds
    of a monotonic clock) when it is looked for elsewhere again; `in_force` is False while its quota
    is gone.
    """

    quota_id: int
    subject: Subject
    allotment: Allotment
    holder: str
    window_start: float
    granted: int = 0
    spent: int = 0
    held: int = 0
    fully_leased: bool = False
    retry_lease_at: float = 0.0
    in_force: bool = True
    others: int = 0
    """What other workers had leased or held, and not spent, when this one leased last."""
    unleased: int = 0
    """What no worker had leased then."""
    retained: int = 0
    """What the store takes to be spent and held of it."""
    valid_until: float = float("inf")
    """When its window ends, or its quota expires; seconds since the epoch."""
    pledge: Pledge = field(init=False)
    """What every request that draws on it pledges."""

    def __post_init__(self) -> None:
        self.pledge = Pledge(self.quota_id, self.window_start, self.allotment.unit)

    @property
    def room(self) -> int:
        """What a new request may hold. Negative after a backend has overrun what was held for it."""
        return self.granted - self.spent - self.held

    @property
    def excess(self) -> int:
        """What the store keeps from other workers on this one's behalf and no request holds."""
        return max(self.granted, self.retained) - self.spent - self.held

    @property
    def remaining(self) -> int:
        """What is not spent of the limit, be it held or not; next to other workers as of when this one leased last."""
        allotment = self.allotment
        left = self.granted - self.spent + self.others + self.unleased - allotment.overdraft
        return 0 if left < 0 else left if left < allotment.limit else allotment.limit

    def may_fit(self, demand: Demand) -> bool:
        """Whether there will be room for the least of `demand` if what is held is not used."""
        least = 0 if demand.wanted == 0 else demand.choices
        room = self.room + self.held + (0 if self.fully_leased else self.others)
        return demand.amount(self.allotment.unit, least) <= max(room, 0)

    def covers(self, upstream: str, model: str) -> bool:
        """Whether a request for `model` on `upstream` draws on this account."""
        allotment = self.allotment
        return self.in_force and allotment.upstream in ("", upstream) and allotment.model in ("", model)


class Demand(msgspec.Struct, frozen=True):
    """What a request may use at the most.

    `input` bounds its prompt's tokens. `output` bounds each of its `choices`: 0 where nothing is generated,
    None where the request names no bound and none is known.
    """

    input: int
    output: int | None = 0
    choices: int = 1
    price: Price = FREE

    @property
    def wanted(self) -> int | None:
        """Output tokens of all choices together; None for as many as there are."""
        return None if self.output is None else self.output * self.choices

    def output_within(self, account: Account) -> int | None:
        """The output tokens that `account` has room for besides the input; None for any number, -1 for none."""
        match account.allotment.unit:
            case Unit.TOKENS:
                return max(-1, account.room - self.input)
            case Unit.REQUESTS:
                return None if account.room >= 1 else -1
            case Unit.MONEY:
                return self.price.output_within(account.room, self.input)

    def amount(self, unit: Unit, output: int) -> int:
        """What has to be held in `unit` for `output` tokens in all."""
        match unit:
            case Unit.TOKENS:
                return self.input + output
            case Unit.REQUESTS:
                return 1
            case Unit.MONEY:
                return self.price.bound(self.input, output)


@dataclass(slots=True, eq=False)
class Hold:
    """What a running request has put aside, account by account, until it is settled or released.

    `max_output` is what each choice may generate where that had to be lowered from what was asked for,
    else None; `input` is what the prompt was taken for.
    """

    parts: tuple[tuple[Account, int], ...] = ()
    max_output: int | None = None
    input: int | None = None
    open: bool = True

    def release(self) -> None:
        """Give everything back. Does nothing the second time."""
        if self.open:
            self.open = False
            for account, amount in self.parts:
                account.held -= amount

    def settle(self, record: UsageRecord) -> tuple[Charge, ...]:
        """Give everything back but what `record` says was used, and return that as charges.

        Returns none if the hold was settled or released before.
        """
        if not self.open:
            return ()
        self.open = False
        charges, used = [], amounts_of(record)
        for account, amount in self.parts:
            account.held -= amount
            if spent := used[account.allotment.unit]:
                account.spent += spent
                charges.append(Charge(account.quota_id, account.window_start, spent, account.holder))
        return tuple(charges)

    def pledges(self) -> list[Pledge]:
        """What will be charged, in words that outlive the process."""
        return [account.pledge for account, _ in self.parts]


def place_hold(accounts: Sequence[Account], demand: Demand, *, lower: bool = True) -> Hold | Account:
    """Hold `demand` on all of `accounts` or on none.

    Where there is room for the input and only part of the output, the hold lowers the output to what fits,
    unless `lower` is False. Returns the account that is short where it cannot be placed: for lack of even
    one token of output per choice, or of the whole output where it may not be lowered. (A demand without a
    bound is content with what there is.)
    """
    wanted = demand.wanted
    if wanted is not None:
        if (parts := _whole(accounts, demand, wanted)) is not None:
            return Hold(parts, None, demand.input)
    elif not accounts:
        return Hold((), None, demand.input)
    needed = 0 if wanted == 0 else demand.choices
    fitting, tightest = wanted, None
    for account in accounts:
        within = demand.output_within(account)
        if within is None:
            continue
        if within < needed:
            return account
        if fitting is None or within < fitting:
            fitting, tightest = within, account
    if tightest is None:
        return Hold(_parts(accounts, demand, wanted or 0), None, demand.input)
    if not lower and wanted is not None:
        return tightest
    each = (fitting or 0) // demand.choices
    return Hold(_parts(accounts, demand, each * demand.choices), each, demand.input)


def _whole(
    accounts: Sequence[Account], demand: Demand, output: int
) -> tuple[tuple[Account, int], ...] | None:
    """Hold all of `demand` on all of `accounts`; None where one has not room for it, or may not have."""
    tokens = demand.input + output
    parts: tuple[tuple[Account, int], ...] = ()
    for account in accounts:
        unit = account.allotment.unit
        amount = tokens if unit is Unit.TOKENS else demand.amount(unit, output)
        held = account.held + amount
        if held > account.granted - account.spent:
            Hold(parts).release()
            return None
        account.held = held
        parts += ((account, amount),)
    return parts


def _parts(accounts: Sequence[Account], demand: Demand, output: int) -> tuple[tuple[Account, int], ...]:
    parts = []
    for account in accounts:
        amount = demand.amount(account.allotment.unit, output)
        account.held += amount
        parts.append((account, amount))
    return tuple(parts)
