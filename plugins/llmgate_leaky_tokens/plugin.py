"""The plugin: what the guide's operations stand on, opened for as long as the gate serves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from llmgate.plugin.api import Bucket, ConfigError, Surface
from llmgate.plugin.kit.access import Access
from llmgate.plugin.kit.events import open_events
from llmgate.plugin.kit.periodic import periodic

from .analytics import Analytics
from .auth import Auth
from .consume import SURFACE, Consume
from .events import announce, outbox_of
from .operations import (
    analytics_operations,
    auth_operations,
    purchase_operations,
    status_handler,
    token_operations,
)
from .payments import Instant, Manual, Payment
from .providers import Completer, Provider
from .purchase import PurchaseOperations
from .quotas import ProviderQuotas, QuotaOperations
from .saga import Purchases
from .settings import Settings
from .steps import Steps
from .stripe_payments import open_stripe
from .tables import MIGRATIONS
from .words import Problem, guides_shape

if TYPE_CHECKING:
    from llmgate.plugin.api import Services

PLACE = "plugins.llmgate_leaky_tokens"


class LeakyTokens:
    """See `llmgate.plugin.loader.Plugin`."""

    settings = Settings
    migrations = MIGRATIONS

    @asynccontextmanager
    async def open(self, settings: Settings, gate: Services) -> AsyncIterator[Surface]:
        """The surface. Raises `ConfigError` for what does not fit the rest of gate.toml."""
        _check(settings, gate)
        async with AsyncExitStack() as stack:
            clock = gate.store.clock
            access = Access(gate.identity)
            quotas = ProviderQuotas(
                gate.quotas, _providers(settings, gate), only_own=settings.spends == "own"
            )
            purchases = Purchases(gate.store, announce=announce)
            payment = await _open_payment(settings, stack)
            steps = Steps(purchases, payment, quotas, timeout=settings.payment_timeout, clock=clock)
            events = open_events(
                gate,
                partial(outbox_of, gate.store),
                webhook=settings.webhook,
                redis_stream=settings.redis_stream,
            )
            await stack.enter_async_context(events)
            wake = await stack.enter_async_context(periodic("purchases", steps.run))
            operations = [
                *auth_operations(
                    Auth(
                        gate.identity,
                        access,
                        is_open=settings.registration == "open",
                        give_quotas=quotas.start,
                    )
                ),
                *token_operations(
                    status_handler(clock),
                    QuotaOperations(quotas, gate.reports, access),
                    _consume(settings, gate, access, quotas),
                ),
                *purchase_operations(PurchaseOperations(purchases, access, gate.identity, quotas, wake=wake)),
                *analytics_operations(Analytics(gate.store, quotas, clock=clock), settings.analytics_roles),
            ]
            yield Surface(
                SURFACE, operations, error_shape=guides_shape(clock), problem=Problem, title="Leaky Tokens"
            )


def _check(settings: Settings, gate: Services) -> None:
    config, problems = gate.config, []
    for name in settings.providers:
        if name not in config.upstreams:
            known = ", ".join(config.upstreams) or "none"
            problems.append(f'{PLACE}.providers.{name}: no upstream "{name}" (known: {known})')
    if config.sessions.algorithm != "RS256":
        problems.append(
            f'{PLACE}: /oauth2/jwks shows the public keys of sessions: write algorithm = "RS256" in [sessions]'
        )
    if settings.redis_stream is not None and config.limits_store.redis is None:
        problems.append(f"{PLACE}.redis_stream: there is no Redis: write a redis:// as url in [limits_store]")
    if problems:
        raise ConfigError(problems)


def _providers(settings: Settings, gate: Services) -> Mapping[str, Provider]:
    """The providers, with their models as the upstreams know them."""
    return {
        name: replace(provider, model=gate.upstreams[name].models.get(provider.model, provider.model))
        for name, provider in settings.providers.items()
    }


def _consume(settings: Settings, gate: Services, access: Access, quotas: ProviderQuotas) -> Consume:
    completers = {
        name: Completer(gate.upstreams[name], provider)
        for name, provider in _providers(settings, gate).items()
    }
    return Consume(
        access,
        quotas,
        gate.ledger,
        completers,
        buckets=gate.buckets,
        bucket=Bucket(settings.bucket_capacity, settings.bucket_leak),
        prices=gate.prices,
        max_prompt=settings.max_prompt,
        clock=gate.store.clock,
    )


async def _open_payment(settings: Settings, stack: AsyncExitStack) -> Payment:
    if settings.stripe is not None:
        return await stack.enter_async_context(open_stripe(settings.stripe))
    return Instant() if settings.payment == "instant" else Manual()
