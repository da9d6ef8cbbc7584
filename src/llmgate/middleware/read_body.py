"""Reads the body of a request for all layers below, once what may be refused without it has been asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backends.endpoint import Endpoint
from ..backends.request import endpoint_of
from ..exchange import BodyLayer

if TYPE_CHECKING:
    from starlette.types import Scope


def is_for_a_model(scope: Scope) -> bool:
    """Whether an HTTP request is one whose body is read; others stream through."""
    return endpoint_of(scope["method"], scope["path"]) is not Endpoint.OTHER


class ReadBody(BodyLayer):
    """Reads and parses the body of a request to a model; layers below find it in the exchange.

    What they change is collected, and written once for each backend that is tried.
    """
