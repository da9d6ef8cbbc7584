"""The plugin: what it refuses to start on, and what its operations stand on for as long as the gate serves."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute, Route

from llmgate.plugin.api import (
    ConfigError,
    DocumentedSection,
    RouteSettings,
    StoreError,
    Surface,
    documentation_pages,
    new_id,
    repeat,
    running,
)
from llmgate.plugin.kit.once_per_host import once_per_host

from .accounts import Accounts, counted, with_rates
from .artifacts import Artifacts
from .charges import Charges
from .datasets.files import Files
from .datasets.registry import Registry
from .datasets.uploads import Upload
from .evaluation.measure import Scorer
from .evaluation.operations import Evaluations
from .evaluation.probes import Engine
from .generate import Generate
from .models import Catalog, Models
from .operations import Parts, operations
from .serving.adapters import Keeper, Targets
from .serving.layer import AdapterModels
from .serving.vllm import ADAPTER_FIELD, adapter_name
from .settings import Settings
from .shapes import SURFACE, Problem, guides_shape
from .statistics import Counts
from .tables import MIGRATIONS
from .training.jobs import Queue
from .training.operations import Training
from .training.specs import Specs
from .training.worker import Launch, Worker

if TYPE_CHECKING:
    from llmgate.plugin.api import Config, Services

    from .serving.targets import Target
    from .settings import ModelSettings

log = logging.getLogger("llmgate.platform")

NAME = "llmgate_platform"
PLACE = f"plugins.{NAME}"
PAGE = "/api-docs"
LAYERS = ("quota", "accounting")
LAYER = "adapters"
LOOPBACK = ip_network("127.0.0.1/32")
CHARGE_INTERVAL_S = 5.0
STOP_WORKER_WITHIN_S = 20.0


class Platform:
    """See `llmgate.plugin.api.Plugin`."""

    settings = Settings
    migrations = MIGRATIONS

    @asynccontextmanager
    async def open(self, settings: Settings, gate: Services) -> AsyncIterator[Surface]:
        """The surface. Raises `ConfigError` for what does not fit the rest of gate.toml."""
        routes = routes_of(settings, gate.config)
        artifacts = Artifacts(settings.artifacts)
        catalog, registry = (
            Catalog(gate.store, settings.models),
            Registry(gate.store, Files(artifacts.datasets)),
        )
        await catalog.open()
        await registry.open(settings.datasets)
        async with AsyncExitStack() as stack:
            backends = await stack.enter_async_context(gate.backends(allowed=[LOOPBACK]))
            targets = Targets(gate, backends, artifacts, routes, settings, name=NAME)
            evaluations = _evaluations(settings, gate, catalog, registry, targets)
            stack.push_async_callback(evaluations.aclose)
            queue, accounts = Queue(gate.store), Accounts(settings, gate)
            parts = Parts(
                accounts,
                Models(catalog),
                Generate(catalog, targets.of, bound=_bound(gate.config), clock=gate.store.clock),
                registry,
                Upload(registry, max_bytes=settings.max_upload),
                Training(settings, queue, catalog, registry),
                evaluations,
                Counts(gate.store, gate.reports),
            )
            await _background(stack, settings, gate, parts=parts, targets=targets)
            table = operations(
                parts,
                lambda handler: with_rates(accounts, counted(gate.ledger, handler)),
                public_lists=settings.public_lists,
            )
            layer = partial(AdapterModels, catalog=catalog, targets=targets)
            surface = Surface(
                SURFACE,
                table,
                error_shape=guides_shape,
                problem=Problem,
                title="LLM Platform API",
                middleware={LAYER: layer},
            )
            yield replace(surface, routes=_documentation(surface, gate.config))


async def _background(
    stack: AsyncExitStack, settings: Settings, gate: Services, *, parts: Parts, targets: Targets
) -> None:
    """What goes on besides requests, as long as the stack lasts."""
    artifacts, host = Artifacts(settings.artifacts), os.uname().nodename
    locks = artifacts.root / "locks"
    charges = Charges(gate.store, gate.ledger, price=settings.second_price, route=NAME)
    later: dict[type[Exception], Any] = {StoreError: partial(log.warning, "training is charged later: %s")}
    charging = repeat(charges.charge_all, CHARGE_INTERVAL_S, at_once=True, failed=later)
    loading = parts.datasets.load_from_hub(settings.datasets)
    await stack.enter_async_context(running(targets.watch(), loading, charging))
    if any(base.served_by is not None for base in settings.models):
        keeper = Keeper(gate, Catalog(gate.store, settings.models), artifacts, settings)
        await stack.enter_async_context(once_per_host(locks / f"adapters-{host}", keeper.run))
    if settings.worker == "local":
        local = partial(_work, settings, gate, artifacts)
        await stack.enter_async_context(once_per_host(locks / f"worker-{host}", local))


def _documentation(surface: Surface, config: Config) -> list[BaseRoute]:
    """The guide's `/api-docs`: every operation, to be tried in a browser."""
    section = DocumentedSection(surface, config.plugins[NAME].prefix)
    found = documentation_pages([section], page=PAGE, document_path=f"{PAGE}/openapi.json")
    return [Route(path, page, methods=["GET"]) for path, page in found.items()]


async def _work(settings: Settings, gate: Services, artifacts: Artifacts) -> None:
    """A worker inside of the gate: its trainers are processes of their own, at low priority."""
    worker = worker_of(
        settings, Queue(gate.store), artifacts, Catalog(gate.store, settings.models), nice=True
    )
    task = asyncio.create_task(worker.run())
    try:
        await asyncio.shield(task)
    finally:
        worker.stop()
        await asyncio.wait([task], timeout=STOP_WORKER_WITHIN_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def worker_of(
    settings: Settings, queue: Queue, artifacts: Artifacts, catalog: Catalog, *, nice: bool = False
) -> Worker:
    """A worker for the jobs of this gate; with `nice` its trainers yield to everything else."""
    launcher = (*(("nice", "-n", "10") if nice else ()), *settings.launcher)
    launch = Launch(settings.train_python or sys.executable, launcher, checked=not settings.launcher)
    name = f"{os.uname().nodename}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    return Worker(queue, artifacts, launch, name=name, spec_of=Specs(settings, catalog, artifacts).of)


def routes_of(settings: Settings, config: Config) -> Mapping[str, RouteSettings]:
    """The route that requests to each base model go through. Raises `ConfigError` with all that does not fit."""
    problems: list[str] = []
    found: dict[str, RouteSettings] = {}
    for at, base in enumerate(settings.models):
        place = f"{PLACE}.models[{at}]"
        upstream = config.upstreams.get(base.upstream)
        if upstream is None:
            known = ", ".join(config.upstreams) or "none"
            problems.append(f'{place}.upstream: no upstream "{base.upstream}" (known: {known})')
            continue
        if base.served_by == "vllm" and upstream.dialect != "vllm":
            remedy = 'write serve_with = "llama.cpp" and gguf'
            problems.append(f'{place}.serve_with: the upstream "{base.upstream}" is no vLLM: {remedy}')
        if base.served_by == "vllm" and not upstream.lora:
            problems.append(
                f"{place}: upstreams.{base.upstream} serves adapters of {base.name}: write lora = true"
            )
        if base.served_by == "vllm":
            problems += _open_routes(base, config)
        route, problem = _route(base, config)
        if route is None:
            problems.append(f"{place}.route: {problem}")
        else:
            found[base.name] = route
    if problems:
        raise ConfigError(problems)
    return found


def _route(base: ModelSettings, config: Config) -> tuple[RouteSettings | None, str]:
    fitting = [
        route
        for route in config.routes
        if base.upstream in route.served_by and base.route in (None, route.name)
    ]
    if not fitting:
        named = f' called "{base.route}"' if base.route is not None else ""
        return (
            None,
            f'there is no [[routes]]{named} to the upstream "{base.upstream}": add one, its layers count',
        )
    route = fitting[0]
    if missing := [layer for layer in LAYERS if layer not in route.middleware]:
        return None, f'the route "{route.name}" lacks {" and ".join(missing)}: add to its middleware'
    if route.models is not None and base.served_by == "vllm":
        return None, f'the route "{route.name}" lists its models, which adapters are not: name another route'
    return route, ""


def _open_routes(base: ModelSettings, config: Config) -> list[str]:
    """What is wrong with routes that would let anybody use everybody's adapters, and free of charge."""
    layer = f"{NAME}.{LAYER}"
    return [
        f'{PLACE}: routes: {route.name}: the upstream "{base.upstream}" serves adapters, each its owner\'s: '
        f'put "{layer}" behind ratelimit into its middleware'
        for route in config.routes
        if base.upstream in route.served_by and layer not in _behind_rate_limits(route)
    ]


def _behind_rate_limits(route: RouteSettings) -> Sequence[str]:
    """The layers that see the body: it is read when the rate limits have let a request pass."""
    names = list(route.middleware)
    return names[names.index("ratelimit") + 1 :] if "ratelimit" in names else names


def _bound(config: Config) -> Any:
    """The most tokens that an upstream's answers may have, if gate.toml says."""
    return lambda upstream: config.upstreams[upstream].context_length


def _evaluations(
    settings: Settings, gate: Services, catalog: Catalog, registry: Registry, targets: Targets
) -> Evaluations:
    def engine_of(target: Target, base: ModelSettings) -> Engine:
        url, headers = targets.address(target, base)
        is_safe = target.dialect == "vllm" and base.served_by is None
        if (job_id := target.extra.get(ADAPTER_FIELD)) is not None:
            return Engine(gate.http, url, target.dialect, adapter_name(job_id), headers)
        return Engine(gate.http, url, target.dialect, target.model, headers, target.extra, is_safe)

    pythons = dict.fromkeys((sys.executable, settings.train_python or sys.executable))
    return Evaluations(
        gate.store,
        catalog,
        registry,
        default_dataset=settings.evaluation,
        target_of=targets.of,
        engine_of=engine_of,
        scorer=Scorer(tuple(pythons), settings.evaluator),
        new_id=new_id,
        name=NAME,
    )
