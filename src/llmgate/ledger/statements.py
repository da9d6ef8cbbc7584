"""What every database driver of the ledger writes: the columns of a record, and charges added up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .model import Entry, UsageRecord

RECORD_COLUMNS = UsageRecord.__struct_fields__
"""The columns of the table `usage`, in the order in which they are bound."""


class Spent(NamedTuple):
    """What a whole group of entries takes from one quota, out of one worker's lease in one window."""

    quota_id: int
    window_start: float
    holder: str
    amount: int


def spent_by_lease(entries: Iterable[Entry]) -> list[Spent]:
    """The charges of `entries` added up, in a fixed order so that two writers cannot lock each other out."""
    sums: dict[tuple[int, float, str], int] = {}
    for entry in entries:
        for charge in entry.charges:
            lease = charge.quota_id, charge.window_start, charge.holder
            sums[lease] = sums.get(lease, 0) + charge.amount
    return [Spent(*lease, amount) for lease, amount in sorted(sums.items())]
