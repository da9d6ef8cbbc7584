"""The table of the surface's operations: which path does what, for whom, and how it answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from llmgate.plugin.api import EVENTS, MULTIPART, Media, Operation
from llmgate.plugin.kit.formats import RowId

from . import auth, deployments, inference, models, monitoring, passages
from .shapes import answers

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from llmgate.plugin.api import AnyOperation, Handler

BASE = "/api/v1"
BEARER = ("bearer",)
KEY = ("x-api-key",)
BOTH = ("bearer", "x-api-key")
ADMIN = ("admin",)


def auth_operations(does: auth.Auth) -> list[AnyOperation]:
    """Users and keys."""
    at = partial(_operation, "/auth")
    return [
        at("POST", "/register", does.register, "Register a user.", body=auth.Registration,
           answers=answers(201, auth.Account, 403, 409)),
        at("POST", "/login", does.log_in, "Log in for an access token.", body=auth.Credentials,
           answers=answers(200, auth.Token, 401)),
        at("GET", "/me", does.me, "Your account.", credentials=BOTH,
           answers=answers(200, auth.Account)),
        at("POST", "/api-keys", does.create_key, "Make an API key.", body=auth.NewKey, credentials=BEARER,
           session=True,
           answers=answers(201, auth.CreatedKey, 403)),
        at("GET", "/api-keys", does.list_keys, "Your API keys.", credentials=BEARER,
           answers=answers(200, list[auth.ListedKey])),
        at("DELETE", "/api-keys/{id}", does.delete_key, "Delete an API key.", credentials=BEARER,
           session=True,
           answers=answers(204, None, 404)),
    ]  # fmt: skip


def deployment_operations(does: deployments.Deployments) -> list[AnyOperation]:
    """Deployments: admins write them."""
    at = partial(_operation, "/deployments")
    return [
        at("POST", "", does.create, "Add a deployment.", body=deployments.NewDeployment,
           credentials=BEARER, roles=ADMIN, answers=answers(201, deployments.ShownDeployment, 409)),
        at("GET", "", does.everything, "All deployments.", credentials=BOTH,
           answers=answers(200, list[deployments.ShownDeployment])),
        at("GET", "/{id}", does.get, "A deployment.", credentials=BOTH,
           answers=answers(200, deployments.ShownDeployment, 404)),
        at("PUT", "/{id}", does.change, "Change a deployment.", body=deployments.DeploymentChange,
           credentials=BEARER, roles=ADMIN, answers=answers(200, deployments.ShownDeployment, 404, 409)),
        at("DELETE", "/{id}", does.delete, "Delete a deployment.", credentials=BEARER, roles=ADMIN,
           answers=answers(204, None, 404)),
        at("GET", "/{id}/health", does.health, "Whether a deployment answers, and with which models.",
           credentials=BOTH, answers=answers(200, deployments.Health, 404)),
    ]  # fmt: skip


def inference_operations(
    chat: Callable[..., ASGIApp], available: inference.Models, *, route: str
) -> list[AnyOperation]:
    """Chats. `chat` makes the app that answers whole, or with `streams` as it comes; both send into `route`."""
    at = partial(_operation, "/inference")
    into = partial(at, route=route, scope="models", body=inference.Chat)
    of_chat = answers(200, passages.Answer, 402, 404, 500)
    of_stream = {**of_chat, 200: Media((EVENTS,))}
    return [
        into("POST", "/chat", None, "Chat.", app=chat(streams=False), credentials=BEARER, answers=of_chat),
        into("POST", "/chat/api-key", None, "Chat, by API key.", app=chat(streams=False), credentials=KEY,
             answers=of_chat),
        into("POST", "/chat/stream", None, "Chat, as a stream of text.", app=chat(streams=True),
             credentials=BOTH, answers=of_stream),
        at("GET", "/models", available.list, "Models that can be asked.", query=inference.OfDeployment,
           credentials=BOTH, scope="models", answers=answers(200, inference.AvailableModels, 404, 500)),
    ]  # fmt: skip


def model_operations(does: models.Models) -> list[AnyOperation]:
    """The registry of models: admins write it."""
    at = partial(_operation, "/models")
    return [
        at("POST", "", does.create, "Register a model.", body=models.NewModel, credentials=BEARER,
           roles=ADMIN, answers=answers(201, models.ShownModel, 409)),
        at("GET", "", does.everything, "Registered models.", query=models.Which, credentials=BOTH,
           answers=answers(200, list[models.ShownModel])),
        at("GET", "/{id}", does.get, "A registered model.", credentials=BOTH,
           answers=answers(200, models.ShownModel, 404)),
        at("PUT", "/{id}", does.change, "Change a registered model.", body=models.ModelChange,
           credentials=BEARER, roles=ADMIN, answers=answers(200, models.ShownModel, 404, 409)),
        at("POST", "/{id}/upload", does.upload, "Upload a version of a model, as a GGUF file.", body=models.Upload,
           media_types=(MULTIPART,), credentials=BEARER, roles=ADMIN,
           answers={**answers(201, models.ShownVersion, 404), 200: models.ShownVersion}),
        at("GET", "/{id}/versions", does.versions, "Uploaded versions of a model.", credentials=BOTH,
           answers=answers(200, list[models.ShownVersion], 404)),
    ]  # fmt: skip


def monitoring_operations(does: monitoring.Monitoring) -> list[AnyOperation]:
    """What was used: users see their own, admins all."""
    at = partial(_operation, "/monitoring")
    return [
        at("GET", "/metrics", does.metrics, "What the whole gate did.", query=monitoring.Week,
           credentials=BEARER, roles=ADMIN, answers=answers(200, monitoring.Metrics)),
        at("GET", "/usage", does.usage, "What you used.", query=monitoring.Month, credentials=BOTH,
           answers=answers(200, monitoring.Usage)),
        at("GET", "/my-logs", does.my_logs, "Your latest requests.", query=monitoring.Latest,
           credentials=BOTH, answers=answers(200, list[monitoring.LogEntry])),
        at("GET", "/logs", does.logs, "Everybody's latest requests.", query=monitoring.Latest,
           credentials=BEARER, roles=ADMIN, answers=answers(200, list[monitoring.LogEntry])),
        at("GET", "/deployments/{id}/metrics", does.deployment_metrics, "What a deployment did.",
           query=monitoring.Week, credentials=BEARER, roles=ADMIN,
           answers=answers(200, monitoring.Metrics, 404)),
    ]  # fmt: skip


def _operation(
    folder: str, method: str, path: str, handler: Handler[Any, Any, Any] | None, summary: str, **rest: object
) -> AnyOperation:
    return Operation(
        method=method,
        path=BASE + folder + path,
        handler=handler,
        parameters={"id": RowId},
        summary=summary,
        **rest,  # type: ignore[arg-type]
    )
