"""Charges of a whole group, added up lease by lease."""

from llmgate.ledger.model import Charge, Entry
from llmgate.ledger.statements import RECORD_COLUMNS, Spent, spent_by_lease
from llmgate.store.schema import usage

from .ledgers import record


def test_charges_to_the_same_lease_are_one_in_an_order_that_all_writers_share() -> None:
    """Two writers that lock rows in different orders would wait for each other."""
    entries = [
        Entry(record("a"), (Charge(2, 0.0, 5, "w"), Charge(1, 0.0, 7, "w"))),
        Entry(record("b"), (Charge(2, 0.0, 6, "w"), Charge(2, 0.0, 1, "other"), Charge(2, 9.0, 3, "w"))),
        Entry(record("c")),
    ]
    assert spent_by_lease(entries) == [
        Spent(1, 0.0, "w", 7),
        Spent(2, 0.0, "other", 1),
        Spent(2, 0.0, "w", 11),
        Spent(2, 9.0, "w", 3),
    ]


def test_every_field_of_a_record_has_a_column() -> None:
    assert set(RECORD_COLUMNS) <= set(usage.c.keys())
