"""The plugin: what it refuses to start on, and the table of its operations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from llmgate.plugin.api import (
    EVENTS,
    FORM,
    JSON,
    Answer,
    AnyOperation,
    ConfigError,
    Conflict,
    Detail,
    Media,
    Operation,
    QuotaExhausted,
    Refusal,
    Surface,
    UpstreamFailed,
    detail_shape,
)

from .completions import Completion, Completions
from .handlers import Account, Handlers, LoginForm, Registration, Token, TokenLimit, Usage
from .settings import Settings

if TYPE_CHECKING:
    from llmgate.plugin.api import Config, RouteSettings, Services

GUIDES_STATUS: Mapping[type[Refusal], int] = MappingProxyType(
    {Conflict: 400, QuotaExhausted: 429, UpstreamFailed: 502}
)
"""Where the guide has one status of its own: a name that is taken, a limit used up, a model out of reach."""

BEARER = ("bearer",)
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
            operations=[*_operations(handlers), _completions(completions, route)],
            error_shape=guides_shape,
            problem=Detail,
            title="LLM User Management API",
        )


def guides_shape(refusal: Refusal) -> Answer:
    """Errors as the guide's clients know them, whatever status they have elsewhere in the gate."""
    status, headers, body = detail_shape(refusal)
    return GUIDES_STATUS.get(type(refusal), status), headers, body


def _operations(handlers: Handlers) -> list[AnyOperation]:
    return [
        Operation(
            method="POST",
            path="/auth/register",
            handler=handlers.register,
            body=Registration,
            answers=_answers(Account, 403),
            summary="Register a user account.",
        ),
        Operation(
            method="POST",
            path="/auth/token",
            handler=handlers.log_in,
            body=LoginForm,
            media_types=(FORM,),
            answers=_answers(Token, 401),
            summary="Log in for an access token.",
        ),
        Operation(
            method="POST",
            path="/auth/refresh",
            handler=handlers.refresh,
            credentials=BEARER,
            answers=_answers(Token),
            summary="Get a new access token for one that is still good.",
        ),
        Operation(
            method="GET",
            path="/users/me",
            handler=handlers.me,
            credentials=BEARER,
            answers=_answers(Account),
            summary="Your account.",
        ),
        Operation(
            method="GET",
            path="/users/usage",
            handler=handlers.usage,
            credentials=BEARER,
            answers=_answers(Usage),
            summary="How many tokens you have used, and how many are left.",
        ),
        Operation(
            method="PUT",
            path="/users/me/token-limit",
            handler=handlers.set_token_limit,
            body=TokenLimit,
            credentials=BEARER,
            session=True,
            answers=_answers(Account, 403),
            summary="Change your token limit.",
        ),
    ]


def _completions(app: Completions, route: RouteSettings) -> AnyOperation:
    """The door to the model: it opens to whom the route itself opens."""
    return Operation(
        method="POST",
        path="/chat/completions",
        app=app,
        route=route.name,
        credentials=route.credentials,
        roles=route.roles,
        scope="models",
        body=Completion,
        answers=_answers(Media((JSON, EVENTS)), 403, 404, 502),
        summary="Complete a prompt, or a chat: what the model answers, errors included.",
    )


def _answers(success: type[Any] | Media, *refusals: int) -> dict[int, Any]:
    """200, which is what the guide's system answers also where something was made, and the refusals."""
    return {200: success, **dict.fromkeys(refusals, Detail)}


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
