"""Everything that a plugin may use of llmgate, under one name that stays.

    from llmgate.plugin.api import Call, NotFound, Operation, Services, Surface

What stands here keeps its meaning from release to release; where it lives inside of llmgate does not. Beside
it there are the modules of `llmgate.plugin.kit`, written on these names alone. A test holds plugins to both.

Two things are called otherwise than in their rooms, where the short name would be mistaken: `UpstreamSettings`,
`RouteSettings` and `HealthSettings` are the tables of gate.toml, `Upstream` is what answers.
"""

from ..backends.dialect import DIALECTS, Dialect
from ..backends.endpoint import Endpoint
from ..backends.model_cards import cards_of
from ..backends.request import ModelRequest, parse_request
from ..background import repeat, running
from ..config import BaseUrl, Config, Model, Name, Network, Secret, SecretUrl, UrlPath, convert_table
from ..config import Health as HealthSettings
from ..config import Route as RouteSettings
from ..config import Upstream as UpstreamSettings
from ..config import load as load_config
from ..config.schema import Count, Seconds, Several
from ..config.values import DialectName
from ..errors import (
    Answer,
    AnswerCut,
    BadRequest,
    ClientGone,
    ConfigError,
    Conflict,
    Detail,
    ErrorShape,
    Forbidden,
    GateError,
    Header,
    MethodNotAllowed,
    NotFound,
    OpenAIError,
    PayloadTooLarge,
    QuotaExhausted,
    QuotaHeld,
    RateLimited,
    Refusal,
    StoreError,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
    UpstreamFailed,
    answer,
    detail_shape,
    extra_remedy,
    json_answer,
    openai_shape,
    send_json,
)
from ..exchange import Exchange, Principal, exchange_of, new_id, read_body
from ..identity import (
    ADMIN,
    Identity,
    Key,
    Keys,
    Member,
    Membership,
    Organization,
    Organizations,
    PasswordRules,
    Session,
    Sessions,
    User,
    Users,
)
from ..identity.validation import email_of, name_of
from ..ledger import (
    Allotment,
    Balance,
    Charge,
    Demand,
    Filter,
    Hold,
    Ledger,
    Outcome,
    Price,
    Prices,
    Quotas,
    Reports,
    Subject,
    Totals,
    Unit,
    UsageRecord,
    Window,
)
from ..middleware.authentication import Verifier
from ..middleware.quota import subjects_of
from ..observability.metrics import PluginMetrics
from ..permissions import Permissions
from ..proxy.completion import Completion, unless_gone
from ..proxy.engines.base import Origin, UpstreamError, UpstreamRequest
from ..proxy.upstreams import Upstream
from ..ratelimit.leaky_bucket import Bucket, Buckets, Level
from ..store import Migrations, Store
from ..store.columns import NEVER_REUSED, id_column, partial_index
from ..store.columns import Id as IdColumn
from ..store.columns import owner as owner_column
from ..store.columns import required as required_column
from ..store.engine import Clock
from ..store.schema import api_keys as api_keys_table
from ..store.schema import job_leases as job_leases_table
from ..store.schema import memberships as memberships_table
from ..store.schema import organizations as organizations_table
from ..store.schema import usage as usage_table
from ..store.schema import user_roles as user_roles_table
from ..store.schema import users as users_table
from ..store.sealed import Place, SealedBox
from ..store.stamped import Stamped
from ..usage.meter import meter_for
from ..usage.model import Certainty, Reading, Usage
from ..usage.sse import EventSplitter, data_of
from ..version import __version__
from .call import ANY, EVENTS, FORM, JSON, MULTIPART, AnyCall, Call, Media, Reply
from .cookies import SESSION_COOKIE, Cookie
from .cross_origin import Cors, SameOrigin
from .guarded import Guarded
from .loader import CountOn, DynamicUpstream, DynamicUpstreams, OpenDynamicUpstreams, Plugin, Services
from .openapi import Section as DocumentedSection
from .openapi import pages as documentation_pages
from .operation import Access, AnyOperation, Handler, Observe, Operation, Surface
from .operation_app import send_reply
from .reading import Unprocessable, read_json

__all__ = [
    "ADMIN",
    "ANY",
    "DIALECTS",
    "EVENTS",
    "FORM",
    "JSON",
    "MULTIPART",
    "NEVER_REUSED",
    "SESSION_COOKIE",
    "Access",
    "Allotment",
    "Answer",
    "AnswerCut",
    "AnyCall",
    "AnyOperation",
    "BadRequest",
    "Balance",
    "BaseUrl",
    "Bucket",
    "Buckets",
    "Call",
    "Certainty",
    "Charge",
    "ClientGone",
    "Clock",
    "Completion",
    "Config",
    "ConfigError",
    "Conflict",
    "Cookie",
    "Cors",
    "Count",
    "CountOn",
    "Demand",
    "Detail",
    "Dialect",
    "DialectName",
    "DocumentedSection",
    "DynamicUpstream",
    "DynamicUpstreams",
    "Endpoint",
    "ErrorShape",
    "EventSplitter",
    "Exchange",
    "Filter",
    "Forbidden",
    "GateError",
    "Guarded",
    "Handler",
    "Header",
    "HealthSettings",
    "Hold",
    "IdColumn",
    "Identity",
    "Key",
    "Keys",
    "Ledger",
    "Level",
    "Media",
    "Member",
    "Membership",
    "MethodNotAllowed",
    "Migrations",
    "Model",
    "ModelRequest",
    "Name",
    "Network",
    "NotFound",
    "Observe",
    "OpenAIError",
    "OpenDynamicUpstreams",
    "Operation",
    "Organization",
    "Organizations",
    "Origin",
    "Outcome",
    "PasswordRules",
    "PayloadTooLarge",
    "Permissions",
    "Place",
    "Plugin",
    "PluginMetrics",
    "Price",
    "Prices",
    "Principal",
    "QuotaExhausted",
    "QuotaHeld",
    "Quotas",
    "RateLimited",
    "Reading",
    "Refusal",
    "Reply",
    "Reports",
    "RouteSettings",
    "SameOrigin",
    "SealedBox",
    "Seconds",
    "Secret",
    "SecretUrl",
    "Services",
    "Session",
    "Sessions",
    "Several",
    "Stamped",
    "Store",
    "StoreError",
    "Subject",
    "Surface",
    "Totals",
    "Unauthenticated",
    "Unavailable",
    "Unit",
    "Unprocessable",
    "UnsupportedMediaType",
    "Upstream",
    "UpstreamError",
    "UpstreamFailed",
    "UpstreamRequest",
    "UpstreamSettings",
    "UrlPath",
    "Usage",
    "UsageRecord",
    "User",
    "Users",
    "Verifier",
    "Window",
    "__version__",
    "answer",
    "api_keys_table",
    "cards_of",
    "convert_table",
    "data_of",
    "detail_shape",
    "documentation_pages",
    "email_of",
    "exchange_of",
    "extra_remedy",
    "id_column",
    "job_leases_table",
    "json_answer",
    "load_config",
    "memberships_table",
    "meter_for",
    "name_of",
    "new_id",
    "openai_shape",
    "organizations_table",
    "owner_column",
    "parse_request",
    "partial_index",
    "read_body",
    "read_json",
    "repeat",
    "required_column",
    "running",
    "send_json",
    "send_reply",
    "subjects_of",
    "unless_gone",
    "usage_table",
    "user_roles_table",
    "users_table",
]
