"""gate.toml: its settings as frozen types (`schema`), read with all problems at once (`load`)."""

from .addresses import ASGI_APP, Address, Network
from .describe import Setting, describe
from .load import check_file, from_document, load, load_with_warnings, located
from .paths import Operation
from .read import convert_table
from .schema import (
    Breaker,
    Config,
    Gate,
    Health,
    Limit,
    LimitsStore,
    Mail,
    Metrics,
    Passwords,
    PluginTable,
    Price,
    Quota,
    Route,
    Sessions,
    Store,
    Tls,
    Upstream,
)
from .secrets import Secret, SecretUrl
from .values import BaseUrl, Model, Name, Prefix, UrlPath

__all__ = [
    "ASGI_APP",
    "Address",
    "BaseUrl",
    "Breaker",
    "Config",
    "Gate",
    "Health",
    "Limit",
    "LimitsStore",
    "Mail",
    "Metrics",
    "Model",
    "Name",
    "Network",
    "Operation",
    "Passwords",
    "PluginTable",
    "Prefix",
    "Price",
    "Quota",
    "Route",
    "Secret",
    "SecretUrl",
    "Sessions",
    "Setting",
    "Store",
    "Tls",
    "Upstream",
    "UrlPath",
    "check_file",
    "convert_table",
    "describe",
    "from_document",
    "load",
    "load_with_warnings",
    "located",
]
