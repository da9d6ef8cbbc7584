"""What the layers of one request share: its record, its body, and the `send` of its answer."""

from .body import read_body, too_large
from .layer import MAX_BODY, BodyLayer, StackLayer
from .principal import Principal
from .record import Exchange, exchange_of, new_id, request_ids
from .sending import Push, Sending, push_of, sending, whole_of

__all__ = [
    "MAX_BODY",
    "BodyLayer",
    "Exchange",
    "Principal",
    "Push",
    "Sending",
    "StackLayer",
    "exchange_of",
    "new_id",
    "push_of",
    "read_body",
    "request_ids",
    "sending",
    "too_large",
    "whole_of",
]
