"""The ledger: who may spend what, what was spent, and by which request; exact, durable, hard."""

from .accounts import Demand, Hold
from .charge import Charge
from .ledger import Ledger
from .model import Allotment, Balance, Default, Outcome, Subject, Unit, UsageRecord, Window
from .prices import Price, Prices
from .quotas import Quotas
from .reports import Filter, Reports, Totals

__all__ = [
    "Allotment",
    "Balance",
    "Charge",
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
