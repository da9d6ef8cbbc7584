"""The layers of the onion. Each is a plain ASGI class that also works alone around any app."""

from .accounting import Accounting
from .authentication import Authentication
from .errors import Errors
from .metrics import Metrics
from .models import Models
from .quota import Quota
from .ratelimit import RateLimit
from .request_id import RequestId

__all__ = ["Accounting", "Authentication", "Errors", "Metrics", "Models", "Quota", "RateLimit", "RequestId"]
