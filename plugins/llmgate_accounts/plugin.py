"""The plugin: what it refuses to start on, and the table of its operations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from llmgate.plugin.api import (
    EVENTS,
    FORM,
    JSON,
    AnyOperation,
    ConfigError,
    Conflict,
    Detail,
    Media,
    QuotaExhausted,
    Refusal,
    Surface,
    UpstreamFailed,
    detail_shape,
)
from llmgate.plugin.kit.accounts import Token
from llmgate.plugin.kit.operations import OperationTable
from llmgate.plugin.kit.shapes import with_statuses

from .completions import Completion, Completions
from .handlers import Account, Handlers, LoginForm, Registration, TokenLimit, Usage
from .settings import Settings

if TYPE_CHECKING:
    from llmgate.plugin.api import Config, RouteSettings, Services

GUIDES_STATUS: dict[type[Refusal], int] = {Conflict: 400, QuotaExhausted: 429, UpstreamFailed: 502}
"""Where the guide has one status of its own: a name that is taken, a limit used up, a model out of reach."""

LET_THROUGH = ("POST /completions", "POST /chat/completions")
LAYERS = ("quota", "accounting")


class Accounts:
    """See `llmgate.plugin.loader.Plugin`."""

    settings = Settings

    @asynccontextmanager
    async def open(self, settings: Settings, gate: Services) -> AsyncIterator[Surface]:
        """The surface. Raises `ConfigError` where completions would not go to a route that holds users to limits."""
        route = _route(settings, gate.config)
        handlers = Handlers(settings, gate.identity, gate.quotas, gate.reports)
        completions = Completions(
            gate.routes[route.name], path=route.path, max_body=gate.config.gate.max_body
        )
        yield Surface(
            "accounts",
            operations=_operations(handlers, completions, route),
            error_shape=with_statuses(detail_shape, GUIDES_STATUS),
            problem=Detail,
            title="LLM User Management API",
        )


def _operations(handlers: Handlers, door: Completions, route: RouteSettings) -> list[AnyOperation]:
    """All of them. The door to the model opens to whom the route itself opens."""
    public, own = OperationTable(problem=Detail), OperationTable(problem=Detail, credentials=("bearer",))
    return [
        public("POST /auth/register", handlers.register, "Register a user account.", Account, 403,
               body=Registration),
        public("POST /auth/token", handlers.accounts.log_in, "Log in for an access token.", Token, 401,
               body=LoginForm, media_types=(FORM,)),
        own("POST /auth/refresh", handlers.accounts.refresh,
            "Get a new access token for one that is still good.", Token),
        own("DELETE /auth/sessions", handlers.accounts.log_out_everywhere, "End all of your sessions, this one, too.",
            None, 403, session=True),
        own("GET /users/me", handlers.me, "Your account.", Account),
        own("GET /users/usage", handlers.usage, "How many tokens you have used, and how many are left.", Usage),
        own("PUT /users/me/token-limit", handlers.set_token_limit, "Change your token limit.", Account, 403,
            body=TokenLimit, session=True),
        public("POST /chat/completions", None,
               "Complete a prompt, or a chat: what the model answers, errors included.",
               Media((JSON, EVENTS)), 403, 404, 502, app=door, route=route.name, body=Completion,
               credentials=route.credentials, roles=route.roles, scope="models"),
    ]  # fmt: skip


def _route(settings: Settings, config: Config) -> RouteSettings:
    routes = {route.name: route for route in config.routes}
    name = settings.route if settings.route is not None or len(routes) != 1 else next(iter(routes))
    known = ", ".join(routes) or "none"
    if name is None:
        raise _misfit(f"name the [[routes]] that completions go to (known: {known})")
    if name not in routes:
        raise _misfit(f'no route "{name}" (known: {known})')
    route = routes[name]
    allowed = {str(operation) for operation in route.allow}
    if "*" not in allowed and (closed := [each for each in LET_THROUGH if each not in allowed]):
        raise _misfit(f'the route "{name}" does not let {" and ".join(closed)} through: add to its allow')
    if missing := [layer for layer in LAYERS if layer not in route.middleware]:
        raise _misfit(
            f'token limits need {" and ".join(missing)} on the route "{name}": add to its middleware'
        )
    return route


def _misfit(problem: str) -> ConfigError:
    return ConfigError([f"plugins.llmgate_accounts.route: {problem}"])
