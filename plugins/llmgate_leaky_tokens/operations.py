"""The table of operations: what the guide's requests are called, take and answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct

from llmgate.plugin.api import ADMIN, AnyOperation, Handler, __version__
from llmgate.plugin.kit.formats import rfc3339
from llmgate.plugin.kit.operations import OperationTable

from . import analytics, auth, consume, purchase, quotas
from .words import CircuitOpen, Problem

if TYPE_CHECKING:
    from llmgate.plugin.api import Call

AT = OperationTable(
    "/api/v1",
    problem=Problem,
    always={503: CircuitOpen},
    credentials=("bearer", "x-api-key"),
    parameters={"id": UUID},
)
ADMINS: dict[str, Any] = {"roles": (ADMIN,)}

IdempotencyKey = Annotated[str, Meta(min_length=1, max_length=100)]


class ServiceStatus(Struct, frozen=True):
    """That the service is up."""

    service: str
    status: str
    timestamp: str
    version: str


def status_handler(clock: Callable[[], float]) -> Handler:
    """The handler of `GET /api/v1/tokens/status`."""

    async def status(_: Call) -> ServiceStatus:
        return ServiceStatus("leaky-tokens", "UP", rfc3339(clock()), __version__)

    return status


def auth_operations(does: auth.Auth) -> list[AnyOperation]:
    """Under /api/v1/auth and /oauth2."""
    at, keys, jwks = AT.but("/auth"), AT.but("/auth/api-keys"), AT.beside("/oauth2/jwks")
    return [
        at("POST /register", does.register, "Register a user.", {201: auth.Registered}, 403,
           body=auth.Registration, credentials=()),
        at("POST /login", does.accounts.log_in, "Log in for a session.", auth.LoggedIn, 401, body=auth.Login,
           credentials=()),
        at("DELETE /sessions", does.accounts.log_out_everywhere, "End all of your sessions, this one, too.", None, 403,
           session=True),
        keys("POST", does.keys.create, "Create an API key; it is shown once.", {201: auth.CreatedKey}, 403, 404,
             body=auth.NewKey, session=True),
        keys("GET", does.keys.all, "List API keys.", list[auth.ListedKey], 403, 404, query=auth.OfUser),
        keys("DELETE", does.revoke_key, "Revoke an API key.", None, 403, 404, query=auth.OneKey, session=True),
        keys("GET /validate", does.validate_key, "What an API key stands for.", auth.ValidKey,
             credentials=("x-api-key",)),
        jwks("GET", does.jwks, "The public keys of sessions.", dict[str, Any], credentials=()),
        jwks("POST /rotate", does.rotate, "Sign sessions with a new key.", dict[str, Any], session=True,
             **ADMINS),
    ]  # fmt: skip


def token_operations(
    status: Handler, quotas_: quotas.QuotaOperations, consume_: consume.Consume
) -> list[AnyOperation]:
    """Under /api/v1/tokens, without purchases."""
    at = AT.but("/tokens")
    quota, org = at.but("/quota"), at.but("/quota/org")
    return [
        at("GET /status", status, "Whether the service is up.", ServiceStatus, required=False),
        quota("GET", quotas_.of_user, "A user's quota with a provider.", quotas.UserQuota, 403, 404,
              query=quotas.UserQuery),
        org("GET", quotas_.of_organization, "An organization's quota with a provider.",
            quotas.OrganizationQuota, 403, 404, query=quotas.OrganizationQuery),
        quota("PUT", quotas_.set_user, "Set a user's quota with a provider.", quotas.UserQuota, 404,
              body=quotas.UserLimit, session=True, **ADMINS),
        org("PUT", quotas_.set_organization, "Set an organization's quota with a provider.",
            quotas.OrganizationQuota, 404, body=quotas.OrganizationLimit, session=True, **ADMINS),
        at("POST /consume", consume_, "Spend tokens on an answer to a prompt.",
           {200: consume.Consumed, 429: consume.Consumed | Problem}, 402, 403, 404, 502,
           body=consume.Consumption, scope="models"),
    ]  # fmt: skip


def purchase_operations(does: purchase.PurchaseOperations) -> list[AnyOperation]:
    """Under /api/v1/tokens/purchase."""
    at, state = AT.but("/tokens/purchase"), purchase.PurchaseState
    return [
        at("POST", does.start, "Buy tokens.", {202: purchase.Started}, 403, 404, 409, body=purchase.Order,
           headers={"Idempotency-Key": IdempotencyKey}),
        at("GET", does.undecided, "Purchases that wait for an administrator.", list[purchase.PurchaseState],
           **ADMINS),
        at("GET /{id}", does.show, "Where a purchase stands.", state, 403, 404),
        at("POST /{id}/approve", does.approve, "Approve a purchase.", state, 404, 409, **ADMINS),
        at("POST /{id}/reject", does.reject, "Reject a purchase.", state, 404, 409, **ADMINS),
    ]  # fmt: skip


def analytics_operations(does: analytics.Analytics, roles: tuple[str, ...]) -> list[AnyOperation]:
    """Under /api/v1/analytics."""
    at = AT.but("/analytics", roles=roles)
    return [
        at("GET /usage", does.usage, "The latest events.", analytics.RecentUsage, query=analytics.UsageQuery),
        at("GET /report", does.report, "A window added up.", analytics.Report, query=analytics.ReportQuery),
        at("GET /anomalies", does.anomalies, "Unusual use.", analytics.Anomaly, query=analytics.AnomalyQuery),
    ]  # fmt: skip
