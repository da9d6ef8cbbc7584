"""What `llmgate check --live` asks: everything that a gate of this file would need to reach."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import httpx

from ..backends.dialect import DIALECTS
from ..errors import ConfigError, StoreError
from ..gate.routes import addresses_of
from ..gate.runtime import limits_store_of
from ..proxy.health import HealthSettings, Probed, probe
from ..proxy.model_names import Listed, ask_models
from .served_models import check_models

if TYPE_CHECKING:
    from pathlib import Path

    from ..config import Address, Config
    from ..config import Upstream as UpstreamSettings
    from ..proxy.replica import Replica
    from ..proxy.upstreams import Upstream

EXPIRES_SOON_S = 14 * 86_400


class Findings(Protocol):
    """Where findings go (see `check`)."""

    good: list[str]
    warnings: list[str]
    problems: list[str]


async def check_upstreams(config: Config, upstreams: Iterable[Upstream], findings: Findings) -> None:
    """Ask every replica for its health, and for its models with the gate's own key."""
    asked = list(upstreams)
    for upstream in asked:
        settings = config.upstreams[upstream.name]
        if settings.is_asgi_app:
            findings.good.append(f"upstreams.{upstream.name}: the app that the gate is put around")
            continue
        for replica in upstream.replicas:
            await _check_replica(upstream, replica, settings, findings)
        if upstream.model_names:
            _check_names(config, upstream, findings)
    check_models(config, {upstream.name: upstream.model_names for upstream in asked}, findings)


async def _check_replica(
    upstream: Upstream, replica: Replica, settings: UpstreamSettings, findings: Findings
) -> None:
    place, dialect = f"upstreams.{upstream.name}", DIALECTS[settings.dialect]
    listing = dialect.models_path
    path = settings.health.path or dialect.health_path or listing
    found: Probed | Listed
    if path != listing:
        found = await probe(upstream, replica, HealthSettings(path, timeout=settings.health.timeout))
        _note(found, f"{place}: {replica.origin.url}{path}", findings)
    if path == listing or found.good:
        found = await ask_models(upstream, replica, listing)
        upstream.model_names |= (found.cards or {}).keys()
        if path == listing:
            _note(found, f"{place}: {replica.origin.url}{path}", findings)
    if replica.key_refused:
        what = "the key is wrong: correct it" if settings.api_key else "it asks for a key: set one"
        findings.problems.append(f"{place}.api_key: {replica.origin.url}: {what}")


def _note(found: Probed | Listed, what: str, findings: Findings) -> None:
    (findings.good if found.good else findings.problems).append(f"{what}: {found.message}")


def _check_names(config: Config, upstream: Upstream, findings: Findings) -> None:
    """Aliases and models that gate.toml names, and the backend does not know."""
    place, served = f"upstreams.{upstream.name}", upstream.model_names
    shown = ", ".join(sorted(served)[:5])
    for alias, name in upstream.models.items():
        if name not in served:
            findings.problems.append(f'{place}.models.{alias}: it serves no "{name}" (but: {shown})')
    for index, route in enumerate(config.routes):
        named = {"models": route.models or (), "default_model": filter(None, [route.default_model])}
        for key, names in named.items():
            missing = [name for name in names if upstream.models.get(name, name) not in served]
            if route.upstream == upstream.name and missing:
                findings.problems.append(
                    f'routes[{index}].{key}: {place} serves no "{missing[0]}" (but: {shown})'
                )


async def check_live(config: Config, findings: Findings) -> None:
    """Where limits are counted, the addresses to listen at, and certificates. The store was looked at before."""
    if config.limits_store.url is not None:
        await _check_limits_store(config, findings)
    for address in sorted(addresses_of(config), key=str):
        await _check_address(address, findings)
    if config.gate.tls.certificate is not None:
        _check_certificate(config.gate.tls.certificate, findings)


async def _check_limits_store(config: Config, findings: Findings) -> None:
    async with limits_store_of(config) as store:
        try:
            await store.windows.peek("check")
        except StoreError as error:
            findings.problems.append(f"limits_store.url: {error}")
        else:
            findings.good.append("limits_store: reachable")


async def _check_address(address: Address, findings: Findings) -> None:
    """That it can be bound; if a gate is there already, that it answers."""
    from ..server.sockets import bind  # noqa: PLC0415 - it needs what serving needs

    if address.path is not None and address.path.exists():
        findings.warnings.append(f"gate.listen: {address}: there already; a gate that starts takes its place")
        return
    try:
        bind(address).close()
    except ConfigError as error:
        if await _is_a_gate(address):
            findings.good.append(f"{address}: a gate listens there already")
        else:
            findings.problems += error.problems
    else:
        if address.path is not None:
            address.path.unlink(missing_ok=True)
        findings.good.append(f"{address}: free to listen at")


async def _is_a_gate(address: Address) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104 - any of ours
    where = f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:  # noqa: S501 - it is this host
        for scheme in ("http", "https"):
            try:
                answer = await http.get(f"{scheme}://{where}/healthz", timeout=2)
            except httpx.HTTPError:
                continue
            return answer.text == '{"status":"ok"}'
    return False


def _check_certificate(file: Path, findings: Findings) -> None:
    """When it ends. Whether it can be read and fits its key was seen when the gate was built."""
    from cryptography import x509  # noqa: PLC0415 - loads much

    try:
        ends = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        findings.problems.append(f"gate.tls.certificate: {file}: {error}")
        return
    left = ends.timestamp() - time.time()
    line = f"gate.tls.certificate: {file} is good until {ends.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
    if left <= 0:
        findings.problems.append(f"gate.tls.certificate: {file} has expired on {ends:%Y-%m-%d}: renew it")
    else:
        (findings.good if left > EXPIRES_SOON_S else findings.warnings).append(line)
