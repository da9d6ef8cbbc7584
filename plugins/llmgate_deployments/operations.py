"""The table of the surface's operations: which path does what, for whom, and how it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llmgate.plugin.api import EVENTS, MULTIPART, Detail, Media
from llmgate.plugin.kit.accounts import Credentials, Token
from llmgate.plugin.kit.formats import RowId
from llmgate.plugin.kit.operations import OperationTable

from . import auth, deployments, inference, models, monitoring, proxied

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from llmgate.plugin.api import AnyOperation

AT = OperationTable("/api/v1", problem=Detail, parameters={"id": RowId})
BOTH: dict[str, Any] = {"credentials": ("bearer", "x-api-key")}
OWN: dict[str, Any] = {"credentials": ("bearer",)}
ADMIN: dict[str, Any] = {**OWN, "roles": ("admin",)}


def auth_operations(does: auth.Auth) -> list[AnyOperation]:
    """Users and keys."""
    at, own = AT.but("/auth"), AT.but("/auth", **OWN)
    made, listed = {201: auth.CreatedKey}, list[auth.ListedKey]
    return [
        at("POST /register", does.register, "Register a user.", {201: auth.Account}, 403, 409,
           body=auth.Registration),
        at("POST /login", does.accounts.log_in, "Log in for an access token.", Token, 401, body=Credentials),
        at("GET /me", does.me, "Your account.", auth.Account, **BOTH),
        own("DELETE /sessions", does.accounts.log_out_everywhere, "End all of your sessions, this one, too.", None,
            403, session=True),
        own("POST /api-keys", does.keys.create, "Make an API key.", made, 403, body=auth.NewKey, session=True),
        own("GET /api-keys", does.keys.all, "Your API keys.", listed),
        own("DELETE /api-keys/{id}", does.keys.revoke, "Delete an API key.", None, 404, session=True),
    ]  # fmt: skip


def deployment_operations(does: deployments.Deployments) -> list[AnyOperation]:
    """Deployments: admins write them."""
    at, admin = AT.but("/deployments", **BOTH), AT.but("/deployments", **ADMIN)
    shown = deployments.ShownDeployment
    return [
        admin("POST", does.create, "Add a deployment.", {201: shown}, 409, body=deployments.NewDeployment),
        at("GET", does.all, "All deployments.", list[deployments.ShownDeployment]),
        at("GET /{id}", does.get, "A deployment.", shown, 404),
        admin("PUT /{id}", does.change, "Change a deployment.", shown, 404, 409,
              body=deployments.DeploymentChange),
        admin("DELETE /{id}", does.delete, "Delete a deployment.", None, 404),
        at("GET /{id}/health", does.health, "Whether a deployment answers, and with which models.",
           deployments.Health, 404),
    ]  # fmt: skip


def inference_operations(
    chat: Callable[..., ASGIApp], available: inference.Models, *, route: str
) -> list[AnyOperation]:
    """Chats. `chat` makes the app that answers whole, or with `streams` as it comes; both send into `route`."""
    at = AT.but("/inference", scope="models", **BOTH)
    ask, refusals = at.but("/chat", body=inference.Chat, route=route), (402, 404, 500)
    whole = proxied.Answer
    return [
        ask("POST", None, "Chat.", whole, *refusals, app=chat(streams=False), **OWN),
        ask("POST /api-key", None, "Chat, by API key.", whole, *refusals, app=chat(streams=False),
            credentials=("x-api-key",)),
        ask("POST /stream", None, "Chat, as a stream of text.", Media((EVENTS,)), *refusals,
            app=chat(streams=True)),
        at("GET /models", available.list, "Models that can be asked.", inference.AvailableModels, 404, 500,
           query=inference.OfDeployment),
    ]  # fmt: skip


def model_operations(does: models.Models) -> list[AnyOperation]:
    """The registry of models: admins write it."""
    at, admin = AT.but("/models", **BOTH), AT.but("/models", **ADMIN)
    shown, version = models.ShownModel, models.ShownVersion
    return [
        admin("POST", does.create, "Register a model.", {201: shown}, 409, body=models.NewModel),
        at("GET", does.everything, "Registered models.", list[models.ShownModel], query=models.Which),
        at("GET /{id}", does.get, "A registered model.", shown, 404),
        admin("PUT /{id}", does.change, "Change a registered model.", shown, 404, 409, body=models.ModelChange),
        admin("POST /{id}/upload", does.upload, "Upload a version of a model, as a GGUF file.",
              {201: version, 200: version}, 404, body=models.Upload, media_types=(MULTIPART,)),
        at("GET /{id}/versions", does.versions, "Uploaded versions of a model.", list[models.ShownVersion], 404),
    ]  # fmt: skip


def monitoring_operations(does: monitoring.Monitoring) -> list[AnyOperation]:
    """What was used: users see their own, admins all."""
    at, admin = AT.but("/monitoring", **BOTH), AT.but("/monitoring", **ADMIN)
    metrics, logs = monitoring.Metrics, list[monitoring.LogEntry]
    return [
        admin("GET /metrics", does.metrics, "What the whole gate did.", metrics, query=monitoring.Week),
        at("GET /usage", does.usage, "What you used.", monitoring.Usage, query=monitoring.Month),
        at("GET /my-logs", does.my_logs, "Your latest requests.", logs, query=monitoring.Latest),
        admin("GET /logs", does.logs, "Everybody's latest requests.", logs, query=monitoring.Latest),
        admin("GET /deployments/{id}/metrics", does.deployment_metrics, "What a deployment did.", metrics, 404,
              query=monitoring.Week),
    ]  # fmt: skip
