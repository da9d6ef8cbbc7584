"""The layers around a route. Each is a plain ASGI class that also works alone around any app."""

from .accounting import Accounting
from .allowed_hosts import AllowedHosts
from .authentication import Authentication
from .begin_exchange import BeginExchange
from .body_budget import BodyBudget
from .engine_priority import EnginePriority
from .errors import Errors
from .fatal_parameters import FatalParameters
from .metered_only import MeteredOnly
from .metrics import Metrics
from .models import Models
from .proxy_headers import ProxyHeaders
from .quota import Quota
from .ratelimit import RateLimit
from .read_body import ReadBody
from .request_id import RequestId
from .stored_responses import StoredResponses

__all__ = [
    "Accounting",
    "AllowedHosts",
    "Authentication",
    "BeginExchange",
    "BodyBudget",
    "EnginePriority",
    "Errors",
    "FatalParameters",
    "MeteredOnly",
    "Metrics",
    "Models",
    "ProxyHeaders",
    "Quota",
    "RateLimit",
    "ReadBody",
    "RequestId",
    "StoredResponses",
]
