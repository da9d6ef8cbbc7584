"""The upstreams of a gate while it is open: their engines, and who asks how they are."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from ..backends.dialect import DIALECTS
from ..config import ASGI_APP, Config
from ..errors import ConfigError
from ..proxy.engines.httptools_engine import HttptoolsEngine
from ..proxy.health import HealthChecks
from ..proxy.model_names import ModelNames
from .runtime import Runtime
from .upstreams import health_of, upstream_of

if TYPE_CHECKING:
    from pathlib import Path

    from ..config import SecretUrl
    from ..config import Upstream as UpstreamSettings
    from ..proxy.engines.base import Engine
    from ..proxy.upstreams import Upstream


async def open_upstreams(config: Config, runtime: Runtime, stack: AsyncExitStack) -> dict[str, Upstream]:
    """Every upstream of gate.toml, on engines that are closed with `stack`: one for each kind of connection."""
    engines: dict[tuple[str | bool, Path | None, SecretUrl | None], Engine] = {}
    upstreams = {}
    for name, settings in config.upstreams.items():
        kind = settings.is_asgi_app or settings.engine, settings.ca_file, settings.proxy
        if kind not in engines:
            engines[kind] = _engine_of(settings, runtime)
            stack.push_async_callback(engines[kind].aclose)
        workers = config.gate.workers
        upstreams[name] = upstream_of(
            name, settings, engines[kind], runtime.replicas, runtime.admissions, workers=workers
        )
    return upstreams


def _engine_of(settings: UpstreamSettings, runtime: Runtime) -> Engine:
    if settings.engine == "httptools" and not settings.is_asgi_app:
        return HttptoolsEngine(ca_file=settings.ca_file)
    from ..proxy.engines.httpx_engine import HttpxEngine  # noqa: PLC0415 - httpx: 9 MB

    if settings.is_asgi_app:
        return HttpxEngine(runtime.http)  # for questions: requests are called, not sent
    proxy = None if settings.proxy is None else settings.proxy.reveal()
    return HttpxEngine(ca_file=settings.ca_file, proxy=proxy)


async def watch_upstreams(config: Config, upstreams: Mapping[str, Upstream], stack: AsyncExitStack) -> None:
    """Ask the upstreams how they are and what they serve, by the settings that are in force from now on."""
    probed = {}
    for name, settings in config.upstreams.items():
        upstreams[name].take_over()
        if (health := health_of(settings)) is not None:
            probed[upstreams[name]] = health
        else:  # nobody would bring back what was taken out under other settings
            for replica in upstreams[name].replicas:
                replica.bring_back()
    await stack.enter_async_context(HealthChecks(probed))
    asked = {
        upstreams[name]: DIALECTS[settings.dialect].models_path
        for name, settings in config.upstreams.items()
        if settings.list_models
    }
    await stack.enter_async_context(ModelNames(asked))


def check_inner(config: Config, runtime: Runtime) -> None:
    """An upstream that is the app around which the gate is put needs such an app."""
    if runtime.inner is None:
        what = (
            "is the app that llmgate.gate.embed.Gate is put around; here is none: write the URL of a server"
        )
        inner = [name for name, upstream in config.upstreams.items() if upstream.is_asgi_app]
        if inner:
            raise ConfigError([f'upstreams.{name}.urls: "{ASGI_APP}" {what}' for name in inner])
