"""What is measured: nginx, the gate from the bare relay to everything on, and other gateways.

Each target is a program in front of the backend, pinned to a core of its own for as long as its context
lasts. All speak to the same backend, which shares the other core with the load.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from types import MappingProxyType

HERE = Path(__file__).parent
GATE_CORE, LOAD_CORE = 0, 1
START_TIMEOUT_S = 60.0

POSTGRES = os.environ.get("LLMGATE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
DATABASE = "llmgate_bench"
"""Made anew on that server for each target, whatever database the URL names."""
REDIS = os.environ.get("LLMGATE_TEST_REDIS", "redis://127.0.0.1:6379/9")
EVERYTHING = ("ratelimit", "quota", "accounting")


@dataclass(frozen=True, slots=True)
class Target:
    """A running program to send requests to. `pid` is None where there is nothing but the backend."""

    url: str
    pid: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    started_in: float = 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a target runs: a folder of its own, a port, and the port of its backend."""

    folder: Path
    port: int
    backend: int

    @property
    def url(self) -> str:
        """Of the target."""
        return f"http://127.0.0.1:{self.port}"

    def fill(self, template: str, **values: str) -> str:
        """A file of this folder with its ports, and `values`, put in."""
        text = Template((HERE / template).read_text())
        return text.substitute(PORT=str(self.port), BACKEND_PORT=str(self.backend), **values)


Opener = Callable[[Place], AbstractContextManager[Target]]


@contextmanager
def running(
    command: Sequence[str],
    *,
    runtime: int | None,
    url: str,
    folder: Path,
    path: str = "/v1/models",
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[int, float]]:
    """`command` on a core for as long as the block lasts; yields its pid and the seconds until it answered."""
    pinned = command if runtime is None else ["taskset", "--cpu-list", str(runtime), *command]
    log = folder / "log"
    with log.open("ab") as said:
        begun = time.perf_counter()
        child = subprocess.Popen(
            pinned,
            stdout=subprocess.DEVNULL,
            stderr=said,
            cwd=folder,
            env=_environment() | dict(environment or {}),
        )
        try:
            while not _answers(url + path):
                if child.poll() is not None or time.perf_counter() - begun > START_TIMEOUT_S:
                    raise RuntimeError(f"{' '.join(command)} did not start:\n{log.read_text()[-2000:]}")
            yield child.pid, time.perf_counter() - begun
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(module: str, *arguments: str) -> list[str]:
    """A module of ours as a command."""
    return [sys.executable, "-m", module, *arguments]


@contextmanager
def direct(place: Place) -> Iterator[Target]:
    """The backend itself: what the load sees without anything between."""
    yield Target(f"http://127.0.0.1:{place.backend}")


@contextmanager
def nginx(place: Place) -> Iterator[Target]:
    """nginx' proxy_pass."""
    (place.folder / "nginx.conf").write_text(place.fill("nginx.conf"))
    command = ["nginx", "-p", str(place.folder), "-c", "nginx.conf", "-e", "stderr"]
    with running(command, runtime=GATE_CORE, url=place.url, folder=place.folder) as (pid, seconds):
        yield Target(place.url, pid, started_in=seconds)


@contextmanager
def relay(place: Place) -> Iterator[Target]:
    """The relay under the gate's server and nothing else."""
    command = program("benchmarks.relay", str(place.port), f"http://127.0.0.1:{place.backend}")
    with running(command, runtime=GATE_CORE, url=place.url, folder=place.folder) as (pid, seconds):
        yield Target(place.url, pid, started_in=seconds)


def gate(*layers: str, keys: bool = True, workers: int = 1, cluster: bool = False) -> Opener:
    """The gate with these middlewares, for callers with an API key or for anybody."""

    @contextmanager
    def opened(place: Place) -> Iterator[Target]:
        key = prepare(place, layers, keys=keys, workers=workers, cluster=cluster)
        command = program("llmgate", "serve")
        runtime = GATE_CORE if workers == 1 else None
        with running(command, runtime=runtime, url=place.url, folder=place.folder, path="/healthz") as (
            pid,
            seconds,
        ):
            yield Target(place.url, pid, {"authorization": f"Bearer {key}"}, seconds)

    return opened


def prepare(
    place: Place, layers: Sequence[str], *, keys: bool, workers: int = 1, cluster: bool = False
) -> str:
    """Write the gate.toml of a gate with these middlewares and make its store; returns an API key."""
    settings = place.fill(
        "gate.toml",
        WORKERS=str(workers),
        STORE=_database() if cluster else "sqlite:///gate.db",
        REDIS=f'[limits_store]\nurl = "{REDIS}"' if cluster else "",
        AUTHENTICATION="required" if keys else "none",
        MIDDLEWARE=json.dumps(layers),
    )
    (place.folder / "gate.toml").write_text(settings)
    llmgate(place.folder, "migrate")
    llmgate(place.folder, "user", "add", "bench", "--no-password")
    return llmgate(place.folder, "key", "create", "bench", "--name=bench", "--quiet").strip()


OWN: Mapping[str, Opener] = MappingProxyType(
    {
        "direct": direct,
        "nginx": nginx,
        "relay": relay,
        "gate": gate(keys=False),
        "+ API keys": gate(),
        "+ rate limit": gate("ratelimit"),
        "+ accounting": gate("ratelimit", "accounting"),
        "everything": gate(*EVERYTHING),
        "on PostgreSQL and Redis": gate(*EVERYTHING, cluster=True),
    }
)
"""What `make bench` measures, in the order of the table; each gate does one thing more than the one before."""

SCALING: Mapping[str, Opener] = MappingProxyType(
    {str(n): gate(*EVERYTHING, workers=n, cluster=True) for n in (1, 2)}
)
"""One worker and two, on all cores: what the second adds."""


def _environment() -> dict[str, str]:
    ours = (str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(ours)}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        time.sleep(0.005)
        return False


def llmgate(folder: Path, *arguments: str) -> str:
    """What a command says of the gate.toml in `folder`."""
    done = subprocess.run(
        program("llmgate", *arguments), cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


def _database() -> str:
    """A new, empty database on the PostgreSQL server: the tables of the last run are gone."""
    if shutil.which("psql") is None:
        raise RuntimeError("psql is needed to make the database: install postgresql-client")
    for statement in (f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)", f"CREATE DATABASE {DATABASE}"):
        command = ["psql", "--quiet", POSTGRES, "--command", statement]
        subprocess.run(command, check=True, capture_output=True)
    return f"{POSTGRES.rpartition('/')[0]}/{DATABASE}"
