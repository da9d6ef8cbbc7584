"""Metrics of the API beside the gate's own. Every label is from a closed set; config/grafana shows them."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmgate.plugin.kit.audit import JOB, path_below, resource_of

from .roles import Rank

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Scope

    from llmgate.plugin.api import Exchange, PluginMetrics

METHODS = ("GET", "POST", "PUT", "DELETE")
RESOURCES = (
    *("audit", "auth", "billing", "budgets", "pricing-tables", "private-ai-keys", "products", "regions"),
    *("teams", "users"),
)
"""The first part of the paths of all operations."""
AUTH = (
    *("/auth/login", "/auth/logout", "/auth/me", "/auth/me/update", "/auth/register", "/auth/sessions"),
    *("/auth/sign-in", "/auth/token", "/auth/token/{id}", "/auth/validate-email", "/auth/validate-jwt"),
)
STATUSES = ("none", "2xx", "3xx", "4xx", "5xx")
ANONYMOUS = "anonymous"
USER_TYPES = (*(rank.name.lower() for rank in Rank), ANONYMOUS)


class Metrics:
    """What the API counts. `metrics` is the gate's, `prefix` stands before this API's paths."""

    def __init__(self, metrics: PluginMetrics, *, prefix: str = "") -> None:
        self._prefix = prefix
        self._auth = metrics.counter(
            "auth_requests", "Requests of /auth, by how they were answered.", endpoint=AUTH, status=STATUSES
        )
        self._by_user_type = metrics.counter(
            "requests_by_user_type",
            "Requests by what their caller is; anonymous has no credential that holds.",
            user_type=USER_TYPES,
            endpoint=RESOURCES,
            method=METHODS,
        )
        self._events = metrics.counter(
            "audit_events",
            "Rows of the audit log, those of jobs included.",
            event_type=(*METHODS, JOB),
            resource_type=RESOURCES,
            status=STATUSES,
        )
        self._teams = metrics.histogram(
            "monitor_teams_duration_seconds", "How long the job that looks at every team has taken."
        )

    def asked(self, scope: Scope, user_type: str) -> None:
        """A request of somebody."""
        path = path_below(scope, self._prefix) or "/"
        self._by_user_type.labels(user_type, resource_of(path), scope["method"]).inc()

    def answered(self, scope: Scope, exchange: Exchange, status: int) -> None:
        """A request was answered with `status`."""
        path = path_below(scope, self._prefix)
        if path is None:
            return
        if exchange.principal is None:
            self.asked(scope, ANONYMOUS)
        if path.startswith("/auth/"):
            for name, value in scope.get("path_params", {}).items():
                path = path.replace(f"/{value}", f"/{{{name}}}")
            self._auth.labels(path, class_of(status)).inc()

    def audited(self, event_type: str, resource_type: str, status: int) -> None:
        """A row was written into the audit log."""
        self._events.labels(event_type, resource_type, class_of(status)).inc()

    @contextmanager
    def monitoring_teams(self) -> Iterator[None]:
        """Time the job that looks at every team."""
        started = time.perf_counter()
        yield
        self._teams.labels().observe(time.perf_counter() - started)


def class_of(status: int) -> str:
    """`2xx` and so on; `none` where no answer began."""
    return f"{status // 100}xx" if status else "none"
