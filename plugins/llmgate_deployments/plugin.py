"""The plugin: its settings, and the table of its operations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from llmgate.plugin.api import (
    Count,
    Detail,
    DialectName,
    HealthSettings,
    Network,
    Seconds,
    Several,
    Surface,
    UpstreamSettings,
)
from llmgate.plugin.kit.accounts import Registering
from llmgate.plugin.kit.uploads import Uploads

from . import auth, deployments, inference, models, monitoring
from . import operations as ops
from .fleet import Fleet
from .serving import LIST_PATH
from .shapes import guides_shape
from .tables import MIGRATIONS

if TYPE_CHECKING:
    from llmgate.plugin.api import Services

NAME = "llmgate_deployments"
MAGIC = b"GGUF"
"""How every GGUF file begins (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""


class Settings(Struct, frozen=True, kw_only=True):
    """The keys of `[plugins.llmgate_deployments]`."""

    registration: Registering = "open"
    first_user_is_admin: Annotated[
        bool, Meta(description="The very first user who registers becomes an admin of the whole gate.")
    ] = False
    dialect: Annotated[
        DialectName, Meta(description="Family of the deployments, as in [upstreams.NAME].")
    ] = "ollama"
    context_length: Annotated[
        Count | None, Meta(description="Tokens that a prompt and its answer may have together.")
    ] = None
    max_output_tokens: Annotated[
        Count | None, Meta(description="Limit of an answer's tokens for requests that name none.")
    ] = None
    connect_timeout: Annotated[Seconds, Meta(description="Seconds to connect to a deployment.")] = 5.0
    first_byte_timeout: Annotated[Seconds, Meta(description="Seconds until an answer begins.")] = 600.0
    health_interval: Annotated[Seconds, Meta(description="Seconds between two probes of a deployment.")] = (
        10.0
    )
    allowed_networks: Annotated[
        Several[Network],
        Meta(
            description="Where deployments may be although the gate would refuse: itself, link-local, metadata."
        ),
    ] = ()
    models_folder: Annotated[
        Path | None, Meta(description="Folder of uploaded model files; without one, uploads are refused.")
    ] = None
    max_upload: Annotated[Count, Meta(description="Largest model file, in bytes.")] = 64 * 1024**3

    def warnings(self, public: bool) -> Iterator[tuple[str, str]]:
        """What is good for trying and not for strangers."""
        if public and self.first_user_is_admin:
            yield (
                "first_user_is_admin",
                "the first stranger is admin: leave it out, and grant the role yourself",
            )


class Deployments:
    """See `llmgate.plugin.loader.Plugin`."""

    settings = Settings
    migrations = MIGRATIONS

    @asynccontextmanager
    async def open(self, settings: Settings, gate: Services) -> AsyncIterator[Surface]:
        """The surface."""
        clock = gate.store.clock
        uploads = None
        if settings.models_folder is not None:
            uploads = Uploads(settings.models_folder, settings.max_upload, ".gguf", MAGIC, "GGUF file")
            uploads.sweep(clock)
        async with gate.backends(allowed=settings.allowed_networks) as backends:
            fleet = Fleet(gate.store, backends, partial(upstream_settings, settings), route=NAME)
            chat = partial(inference.ChatApp, fleet, clock, max_body=gate.config.gate.max_body)
            registered = models.Models(models.Registry(gate.store), uploads)
            accounts = auth.Auth(
                gate.identity,
                clock,
                closed=settings.registration == "closed",
                first_is_admin=settings.first_user_is_admin,
            )
            yield Surface(
                "deployments",
                operations=[
                    *ops.auth_operations(accounts),
                    *ops.deployment_operations(deployments.Deployments(fleet, clock)),
                    *ops.inference_operations(chat, inference.Models(fleet), route=NAME),
                    *ops.model_operations(registered),
                    *ops.monitoring_operations(monitoring.Monitoring(gate.reports, fleet, clock)),
                ],
                error_shape=guides_shape,
                problem=Detail,
                title="BKU Platform API",
            )


def upstream_settings(settings: Settings, url: str) -> UpstreamSettings:
    """A deployment at `url` as [upstreams.NAME] would have it."""
    return UpstreamSettings(
        urls=(url,),
        dialect=settings.dialect,
        connect_timeout=settings.connect_timeout,
        first_byte_timeout=settings.first_byte_timeout,
        context_length=settings.context_length,
        max_output_tokens=settings.max_output_tokens,
        health=HealthSettings(path=LIST_PATH, interval=settings.health_interval),
    )
