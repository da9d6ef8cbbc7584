"""llmgate: a gate in front of large language models.

    from llmgate import Authentication, RateLimit     # the layers, each alone around any ASGI app
    from llmgate import Gate                          # the whole gate around an app: Gate(app, "gate.toml")
    from llmgate import create_app                    # the whole gate as an app: create_app("gate.toml")

The names are imported when they are first used. For plugins there is `llmgate.plugin.api`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .version import __version__ as __version__

if TYPE_CHECKING:
    from .exchange import Exchange, Principal, exchange_of
    from .gate.asgi import create_app
    from .gate.embed import Gate
    from .middleware import (
        Accounting,
        Authentication,
        BeginExchange,
        Errors,
        Metrics,
        Models,
        ProxyHeaders,
        Quota,
        RateLimit,
        RequestId,
    )
    from .proxy.relay import Relay
    from .ratelimit.limit import Limit


__all__ = [
    "Accounting",
    "Authentication",
    "BeginExchange",
    "Errors",
    "Exchange",
    "Gate",
    "Limit",
    "Metrics",
    "Models",
    "Principal",
    "ProxyHeaders",
    "Quota",
    "RateLimit",
    "Relay",
    "RequestId",
    "create_app",
    "exchange_of",
]

_PLACES = {
    "Exchange": "exchange",
    "Gate": "gate.embed",
    "Limit": "ratelimit.limit",
    "Principal": "exchange",
    "Relay": "proxy.relay",
    "create_app": "gate.asgi",
    "exchange_of": "exchange",
}
"""Where a name lives, if not in `middleware`."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES.get(name, 'middleware')}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
