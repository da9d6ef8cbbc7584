"""Is the gate transparent? The same requests, sent to a backend directly and through a gate, and compared."""

from .cases import CASES, Case
from .compare import Answer, added, differences
from .run import Finding, Target, Verdict, examine, first_model

__all__ = [
    "CASES",
    "Answer",
    "Case",
    "Finding",
    "Target",
    "Verdict",
    "added",
    "differences",
    "examine",
    "first_model",
]
