"""The ledger: who may spend what, what was spent, and by which request; exact, durable, hard."""

from .accounts import Demand, Hold
from .ledger import Ledger
from .model import Allotment, Balance, Default, Outcome, Subject, Unit, UsageRecord, Window
from .prices import Price, Prices
from .quotas import Quotas
from .reports import Filter, Reports, Totals

__all__ = [
    "Allotment",
    "Balance",
    "Default",
    "Demand",
    "Filter",
    "Hold",
    "Ledger",
    "Outcome",
    "Price",
    "Prices",
    "Quotas",
    "Reports",
    "Subject",
    "Totals",
    "Unit",
    "UsageRecord",
    "Window",
]
