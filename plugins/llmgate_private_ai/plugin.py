"""The three plugins of this package: the API, the address of the models, and the dashboard."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

from llmgate.plugin.api import (
    ConfigError,
    Cors,
    Detail,
    Media,
    Operation,
    Surface,
    convert_table,
)
from llmgate.plugin.kit.audit import AuditLog
from llmgate.plugin.kit.one_time_codes import OneTimeCodes, OneTimeLinks
from llmgate.plugin.kit.periodic import periodic
from llmgate.plugin.kit.vector_databases import VectorServers

from .access import Access
from .audit import LEFT_OUT, AuditOperations
from .billing.inbox import StripeInbox
from .billing.operations import BillingOperations
from .billing.stripe_gateway import open_stripe
from .billing.webhooks import Deliveries, Webhooks
from .dashboard import DashboardSettings, dashboard_routes
from .jobs import HOUR, Trials, Upkeep
from .key_operations import KeyOperations
from .key_saga import KeySaga
from .key_terms import KeyTerms
from .key_usage import KeyUsage
from .keys import Keys
from .mails import Mails
from .metrics import Metrics
from .model_address import InRegion, ModelInfo, alive, litellm_shape
from .operations import SIGN_UP, Handlers, Table, operations
from .parts import Parts
from .people import People
from .product_operations import ProductOperations
from .products import Products
from .region_backends import RegionBackends
from .region_operations import RegionOperations, stored
from .regions import Regions
from .settings import ModelSettings, Settings
from .shapes import answers, guides_shape
from .sign_in import SignIn
from .tables import MIGRATIONS, secrets
from .tables import audit as audit_rows
from .team_metrics import TEXT, TeamMetrics
from .team_operations import TeamOperations
from .teams import Teams
from .tokens import Tokens
from .users import UserOperations

if TYPE_CHECKING:
    from starlette.types import Scope

    from llmgate.plugin.api import AnyOperation, Exchange, SealedBox, Services, Store

NAME = "llmgate_private_ai"
MODELS = "llmgate_private_ai_models"
DASHBOARD = "llmgate_private_ai_dashboard"
RETRY_EVERY = 5.0
"""Seconds after which somebody looks for creations and deletions that were cut."""

HEADERS = (
    (b"cache-control", b"no-store, no-cache, must-revalidate, private"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
)
KEY = ("bearer", "x-api-key", "api-key")
ASKED = (
    *("POST /chat/completions", "POST /completions", "POST /embeddings", "POST /images/generations"),
    *("POST /audio/transcriptions", "GET /models", "GET /models/{model:path}"),
)


class PrivateAI:
    """The API. See `llmgate.plugin.api.Plugin`."""

    settings = Settings
    migrations = MIGRATIONS

    @asynccontextmanager
    async def open(self, settings: Settings, gate: Services) -> AsyncIterator[Surface]:
        """The surface. Raises `ConfigError` for what does not fit the rest of gate.toml."""
        _check(settings, gate)
        async with _open_api(settings, gate, name=NAME) as surface:
            yield surface


class PrivateAIModels:
    """The address of the models."""

    settings = ModelSettings

    @asynccontextmanager
    async def open(self, settings: ModelSettings, gate: Services) -> AsyncIterator[Surface]:
        """The surface."""
        _api_settings(gate, MODELS)
        regions = Regions(gate.store, _box(gate, MODELS))
        prefix = gate.config.plugins[MODELS].prefix
        async with gate.backends(allowed=settings.allowed_networks) as upstreams:
            backends = RegionBackends(gate, regions, upstreams, settings, name=MODELS)
            app = InRegion(backends, prefix=prefix)
            asked = [
                Operation(
                    method=line.split()[0],
                    path=api + line.split()[1],
                    app=app,
                    credentials=KEY,
                    scope=None,  # who is no key of ours gets 401, as guide 003 has it, not 403
                    answers=answers(200, Media(("application/json", "text/event-stream")), 402, 502),
                    summary="What the model of the key's region answers.",
                )
                for line in ASKED
                for api in ("", "/v1")
            ]
            info = ModelInfo(backends, gate.prices, settings.models)
            told = [
                Operation(
                    method="GET",
                    path=path,
                    handler=info,
                    credentials=KEY,
                    scope=None,  # who is no key of ours gets 401, as guide 003 has it, not 403
                    answers=answers(200, dict[str, Any], 502),
                    summary="Which models the key may ask, and what each can do.",
                )
                for path in ("/model/info", "/v1/model/info")
            ]
            lives = Operation(
                method="GET",
                path="/health/liveliness",
                handler=alive,
                answers=answers(200, str),
                summary="Whether the gate answers.",
            )
            yield Surface(
                "private_ai_models",
                operations=[*asked, *told, lives],
                error_shape=litellm_shape,
                title="Private AI models",
            )


class NoSettings(Struct, frozen=True):
    """The dashboard is set by the API's table."""


class PrivateAIDashboard:
    """The dashboard, and the API below `/api` on its address."""

    settings = NoSettings

    @asynccontextmanager
    async def open(self, _: NoSettings, gate: Services) -> AsyncIterator[Surface]:
        """The surface."""
        settings = _api_settings(gate, DASHBOARD)
        async with _open_api(settings, gate, name=DASHBOARD, prefix="/api") as surface:
            key = "" if settings.stripe is None else settings.stripe.publishable_key
            pages = dashboard_routes(DashboardSettings(settings.passwordless, key))
            yield replace(surface, routes=pages, headers=(), cors=None)


@asynccontextmanager
async def _open_api(
    settings: Settings, gate: Services, *, name: str, prefix: str = ""
) -> AsyncIterator[Surface]:
    """The surface of the API, below `prefix`; where there is none, its jobs run as well."""
    async with AsyncExitStack() as stack:
        wakes: list[Callable[[], None]] = []
        parts = make_parts(settings, gate, lambda: [wake() for wake in wakes])
        upstreams = await stack.enter_async_context(gate.backends(allowed=settings.allowed_networks))
        box = _box(gate, name)
        links = links_of(gate.store, box)
        codes = OneTimeCodes(
            gate.store,
            secrets,
            purpose="sign in",
            key=box.derive("private ai codes"),
            lifetime=settings.code_lifetime,
            tries=settings.code_tries,
        )
        whole_prefix = gate.config.plugins[name].prefix + prefix
        metrics = Metrics(gate.metrics, prefix=whole_prefix)
        audit = AuditLog(
            gate.store, audit_rows, prefix=whole_prefix, left_out=LEFT_OUT, counted=metrics.audited
        )

        async def observe(scope: Scope, exchange: Exchange, status: int) -> None:
            metrics.answered(scope, exchange, status)
            await audit.observe(scope, exchange, status)

        saga, sign = (
            KeySaga(parts),
            SignIn(parts, codes, links, count_sign_up=gate.count_on(f"{name}.{SIGN_UP}")),
        )
        stripe = await stack.enter_async_context(open_stripe(settings.stripe))
        inbox, deliveries = StripeInbox(parts, stripe), Deliveries(gate.store, box, upstreams.http)
        does = Handlers(
            sign_in=sign,
            tokens=Tokens(gate.identity, parts.people),
            users=UserOperations(parts, sign),
            teams=TeamOperations(parts),
            regions=RegionOperations(parts, upstreams),
            keys=KeyOperations(parts, saga, KeyUsage(gate.identity, gate.quotas, gate.reports)),
            products=ProductOperations(parts),
            audit=AuditOperations(gate.store),
            billing=BillingOperations(
                parts,
                stripe,
                inbox,
                secret="" if settings.stripe is None else settings.stripe.webhook_secret.reveal(),
                wake=parts.wake,
            ),
        )
        if not prefix:
            await _first_start(parts, sign)
            upkeep = Upkeep(parts)
            await upkeep.reseal()
            for job, work, every in (
                ("private AI keys", saga.work_off, RETRY_EVERY),
                ("private AI trials", Trials(parts, links, audit, metrics).run, HOUR),
                ("private AI codes", upkeep.run, HOUR),
                ("private AI billing", inbox.work_off, RETRY_EVERY),
                ("private AI webhooks", deliveries.work_off, RETRY_EVERY),
                ("private AI old events", inbox.forget, HOUR),
                ("private AI old deliveries", deliveries.forget, HOUR),
            ):
                runs = periodic(job, work, every=every, store=gate.store, alone=True)
                wake = await stack.enter_async_context(runs)
                if (
                    every == RETRY_EVERY
                ):  # what waits for a request's leftovers; the others wait for the clock alone
                    wakes.append(wake)
        table = Table(Access(parts.people, metrics), prefix=prefix)
        declared = operations(does, table, passwordless=settings.passwordless)
        if settings.team_metrics_token is not None and not prefix:
            declared.append(_team_metrics(parts, settings.team_metrics_token.reveal()))
        yield Surface(
            name.removeprefix("llmgate_"),
            operations=declared,
            error_shape=guides_shape,
            problem=Detail,
            title="Private AI",
            slash_alike=True,
            headers=HEADERS,
            cors=Cors(tuple(settings.cors_origins), exposed=("X-Total-Count",)),
            observe=observe,
        )


def _team_metrics(parts: Parts, token: str) -> AnyOperation:
    return Operation(
        method="GET",
        path="/metrics/teams",
        app=TeamMetrics(parts, token),
        answers=answers(200, Media((TEXT,)), 401),
        summary="Metrics of teams and keys, for Prometheus.",
    )


def make_parts(settings: Settings, gate: Services, wake: Callable[[], object]) -> Parts:
    """What the operations stand on."""
    store, box = gate.store, _box(gate, NAME)
    people, products, keys = People(store), Products(store), Keys(store, box)
    teams, regions = Teams(store, people, products, settings.defaults), Regions(store, box)
    return Parts(
        settings=settings,
        gate=gate,
        people=people,
        teams=teams,
        products=products,
        regions=regions,
        servers=VectorServers(
            template=settings.vector_template,
            timeout=settings.database_timeout,
            at_once=settings.databases_at_once,
        ),
        keys=keys,
        terms=KeyTerms(gate, keys, teams, regions, limited=settings.limits),
        mails=Mails(gate.mailer, dashboard=settings.dashboard_url),
        webhooks=Webhooks(store, box),
        wake=wake,
    )


def links_of(store: Store, box: SealedBox) -> OneTimeLinks:
    """The links of the mails."""
    return OneTimeLinks(store, secrets, purpose="sign in", key=box.derive("private ai links"))


async def _first_start(parts: Parts, sign: SignIn) -> None:
    """Make the first system admin and the first regions, where there are none."""
    settings = parts.settings
    if settings.first_admin is not None:
        await sign.ensure_admin(settings.first_admin.email, settings.first_admin.password.reveal())
    if await parts.regions.any():
        return
    for seed in settings.regions:
        values = structs.asdict(seed)
        values["postgres_admin_password"] = seed.postgres_admin_password.reveal()
        values["litellm_api_url"] = values.pop("backend")
        key = values.pop("backend_key")
        values |= {"litellm_api_key": "" if key is None else key.reveal(), "is_active": True}
        await parts.regions.create({**stored(values), "description": None, "is_dedicated": False}, seed=True)


def _check(settings: Settings, gate: Services) -> None:
    problems = []
    if settings.limits and not gate.config.prices:
        problems.append(
            f"plugins.{NAME}.limits: budgets are money, and a model without a price is free: "
            'write [prices."*"]'
        )
    if settings.first_admin is not None and (open_to := _not_loopback(gate)):
        problems.append(
            f"plugins.{NAME}.first_admin: its password is known to everybody, and the gate listens on "
            f"{', '.join(open_to)}: listen on 127.0.0.1 alone, or make the admin by `llmgate user add`"
        )
    if problems:
        raise ConfigError(problems)


def _not_loopback(gate: Services) -> list[str]:
    """The addresses at which others than this machine can reach one of the three."""
    config = gate.config
    found = []
    for name in (NAME, MODELS, DASHBOARD):
        if name in config.plugins:
            own = config.plugins[name].listen
            found += [own] if own is not None else list(config.gate.listen)
    proxied = ["a loopback address behind a proxy"] if config.gate.is_proxied else []
    return proxied or sorted(
        {str(each) for each in found if each.path is not None or not _is_loopback(each.host)}
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _box(gate: Services, name: str) -> SealedBox:
    if gate.sealed_box is None:
        raise ConfigError(
            [f"plugins.{name}: it keeps secrets that it shows again: write sealing_keys in [store]"]
        )
    return gate.sealed_box


def _api_settings(gate: Services, name: str) -> Settings:
    if NAME not in gate.config.plugins:
        raise ConfigError([f"plugins.{name}: it is a part of {NAME}: give that a table as well"])
    return convert_table(Settings, gate.config.plugins[NAME].settings, f"plugins.{NAME}")
