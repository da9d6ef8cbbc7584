"""What every database driver of the ledger writes: the columns of a record, and charges added up."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from .model import Entry, UsageRecord

RECORD_COLUMNS = tuple(field.name for field in dataclasses.fields(UsageRecord))
"""The columns of the table `usage`, in the order in which they are bound."""


class Spent(NamedTuple):
    """What a whole group of entries takes from one quota in one window."""

    quota_id: int
    window_start: float
    amount: int


def spent_by_quota(entries: Iterable[Entry]) -> list[Spent]:
    """The charges of `entries` added up, in a fixed order so that two writers cannot lock each other out."""
    sums: Counter[tuple[int, float]] = Counter()
    for entry in entries:
        for charge in entry.charges:
            sums[charge.quota_id, charge.window_start] += charge.amount
    return [
        Spent(quota_id, window_start, amount) for (quota_id, window_start), amount in sorted(sums.items())
    ]
