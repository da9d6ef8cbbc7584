"""The table of operations: what the guide's requests are called, take and answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta, Struct

from llmgate.plugin.api import ADMIN, AnyOperation, Handler, Operation, __version__
from llmgate.plugin.kit.formats import rfc3339

from . import analytics, auth, consume, purchase, quotas
from .words import CircuitOpen, Problem

if TYPE_CHECKING:
    from llmgate.plugin.api import Call

CREDENTIALS = ("bearer", "x-api-key")
ADMINS = (ADMIN,)

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


def auth_operations(auth_: auth.Auth) -> list[AnyOperation]:
    """Under /api/v1/auth and /oauth2."""
    keys = "/api/v1/auth/api-keys"
    return [
        _operation(
            "POST /api/v1/auth/register",
            auth_.register,
            "Register a user.",
            {201: auth.Registered},
            (403,),
            body=auth.Registration,
            credentials=(),
        ),
        _operation(
            "POST /api/v1/auth/login",
            auth_.log_in,
            "Log in for a session.",
            {200: auth.LoggedIn},
            (401,),
            body=auth.Login,
            credentials=(),
        ),
        _operation(
            "DELETE /api/v1/auth/sessions",
            auth_.log_out_everywhere,
            "End all of your sessions, this one, too.",
            {204: None},
            (403,),
            session=True,
        ),
        _operation(
            f"POST {keys}",
            auth_.create_key,
            "Create an API key; it is shown once.",
            {201: auth.CreatedKey},
            (403, 404),
            body=auth.NewKey,
            session=True,
        ),
        _operation(
            f"GET {keys}",
            auth_.list_keys,
            "List API keys.",
            {200: list[auth.ListedKey]},
            (403, 404),
            query=auth.OfUser,
        ),
        _operation(
            f"DELETE {keys}",
            auth_.revoke_key,
            "Revoke an API key.",
            {204: None},
            (403, 404),
            query=auth.OneKey,
            session=True,
        ),
        _operation(
            f"GET {keys}/validate",
            auth_.validate_key,
            "What an API key stands for.",
            {200: auth.ValidKey},
            credentials=("x-api-key",),
        ),
        _operation(
            "GET /oauth2/jwks",
            auth_.jwks,
            "The public keys of sessions.",
            {200: dict[str, Any]},
            credentials=(),
        ),
        _operation(
            "POST /oauth2/jwks/rotate",
            auth_.rotate,
            "Sign sessions with a new key.",
            {200: dict[str, Any]},
            roles=ADMINS,
            session=True,
        ),
    ]


def token_operations(
    status: Handler, quotas_: quotas.QuotaOperations, consume_: consume.Consume
) -> list[AnyOperation]:
    """Under /api/v1/tokens, without purchases."""
    quota, org = "/api/v1/tokens/quota", "/api/v1/tokens/quota/org"
    return [
        _operation(
            "GET /api/v1/tokens/status",
            status,
            "Whether the service is up.",
            {200: ServiceStatus},
            required=False,
        ),
        _operation(
            f"GET {quota}",
            quotas_.of_user,
            "A user's quota with a provider.",
            {200: quotas.UserQuota},
            (403, 404),
            query=quotas.UserQuery,
        ),
        _operation(
            f"GET {org}",
            quotas_.of_organization,
            "An organization's quota with a provider.",
            {200: quotas.OrganizationQuota},
            (403, 404),
            query=quotas.OrganizationQuery,
        ),
        _operation(
            f"PUT {quota}",
            quotas_.set_user,
            "Set a user's quota with a provider.",
            {200: quotas.UserQuota},
            (404,),
            body=quotas.UserLimit,
            session=True,
            roles=ADMINS,
        ),
        _operation(
            f"PUT {org}",
            quotas_.set_organization,
            "Set an organization's quota with a provider.",
            {200: quotas.OrganizationQuota},
            (404,),
            body=quotas.OrganizationLimit,
            session=True,
            roles=ADMINS,
        ),
        _operation(
            "POST /api/v1/tokens/consume",
            consume_,
            "Spend tokens on an answer to a prompt.",
            {200: consume.Consumed, 429: consume.Consumed | Problem},
            (402, 403, 404, 502),
            body=consume.Consumption,
            scope="models",
        ),
    ]


def purchase_operations(purchases: purchase.PurchaseOperations) -> list[AnyOperation]:
    """Under /api/v1/tokens/purchase."""
    path = "/api/v1/tokens/purchase"
    return [
        _operation(
            f"POST {path}",
            purchases.start,
            "Buy tokens.",
            {202: purchase.Started},
            (403, 404, 409),
            body=purchase.Order,
            headers={"Idempotency-Key": IdempotencyKey},
        ),
        _operation(
            f"GET {path}",
            purchases.undecided,
            "Purchases that wait for an administrator.",
            {200: list[purchase.PurchaseState]},
            roles=ADMINS,
        ),
        _operation(
            f"GET {path}/{{id}}",
            purchases.show,
            "Where a purchase stands.",
            {200: purchase.PurchaseState},
            (403, 404),
        ),
        *(
            _operation(
                f"POST {path}/{{id}}/{verb}",
                handler,
                f"{verb.capitalize()} a purchase.",
                {200: purchase.PurchaseState},
                (404, 409),
                roles=ADMINS,
            )
            for verb, handler in (("approve", purchases.approve), ("reject", purchases.reject))
        ),
    ]


def analytics_operations(analytics_: analytics.Analytics, roles: tuple[str, ...]) -> list[AnyOperation]:
    """Under /api/v1/analytics."""
    table: list[tuple[str, Handler[Any, Any, Any], type[Any], type[Any], str]] = [
        ("usage", analytics_.usage, analytics.UsageQuery, analytics.RecentUsage, "The latest events."),
        ("report", analytics_.report, analytics.ReportQuery, analytics.Report, "A window added up."),
        ("anomalies", analytics_.anomalies, analytics.AnomalyQuery, analytics.Anomaly, "Unusual use."),
    ]
    return [
        _operation(
            f"GET /api/v1/analytics/{name}",
            handler,
            summary,
            {200: answer},
            query=query,
            roles=roles,
        )
        for name, handler, query, answer, summary in table
    ]


def _operation(
    request: str,
    handler: Handler[Any, Any, Any],
    summary: str,
    answers: dict[int, Any],
    refusals: Iterable[int] = (),
    *,
    credentials: tuple[str, ...] = CREDENTIALS,
    required: bool = True,
    roles: tuple[str, ...] = (),
    body: type[Any] | None = None,
    query: type[Any] | None = None,
    headers: Mapping[str, Any] = MappingProxyType({}),
    scope: Literal["account", "models"] = "account",
    session: bool = False,
) -> AnyOperation:
    """The operation for `request`, a method and a path; the first of `answers` is that of success."""
    method, _, path = request.partition(" ")
    return Operation(
        method=method,
        path=path,
        handler=handler,
        body=body,
        query=query,
        parameters={"id": UUID},
        headers=headers,
        answers={**answers, **dict.fromkeys(refusals, Problem), 503: CircuitOpen},
        credentials=credentials,
        scope=scope,
        session=session,
        required=required,
        roles=roles,
        summary=summary,
    )
