"""What more workers bring, and what they ask of PostgreSQL and Redis: `python -m benchmarks scaling`.

Workers, backend and loads have cores of their own as far as there are enough. Transactions and commands are those that
the servers count: where nobody asks anything, and under as much load as the workers take.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .figures import body, send
from .load import Report
from .machine import cpu_seconds, family
from .targets import DATABASE, EVERYTHING, POSTGRES, REDIS, Place, Target, free_port, gate, program, running

WORKERS = (1, 2, 4)
CONNECTIONS = 16
"""Of each load; there is one for every worker."""
IDLE_S = 6.0
SETTLES_S = 11.0
"""Seconds until PostgreSQL's processes have told what they did: an idle one waits for ten."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where. `apart`: nobody runs on the cores of others."""

    gate: Sequence[int]
    load: Sequence[int]
    apart: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of the stores: PostgreSQL's transactions, and Redis's commands."""

    transactions: float
    commands: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What so many workers did: requests by the second, what each cost, and what was asked of the stores."""

    workers: int
    cores: Cores
    requests: float
    microseconds: float
    idle: Asked
    """By the second, while there are no requests."""
    each: Asked
    """For each request."""


def cores_for(workers: int, cores: Sequence[int]) -> Cores:
    """A core for each worker, the others for backend, loads and stores; all for all where half do not suffice."""
    if 2 * workers <= len(cores):
        return Cores(cores[:workers], cores[workers:], apart=True)
    return Cores(cores, cores, apart=False)


def scaling(seconds: float) -> Iterator[Reading]:
    """A reading for each number of workers, up to one that has no core for each of them."""
    cores = sorted(os.sched_getaffinity(0))
    for workers in (number for number in WORKERS if number <= len(cores)):
        with tempfile.TemporaryDirectory(prefix="llmgate-bench-") as folder:
            place = Place(Path(folder), free_port(), free_port())
            url = f"http://127.0.0.1:{place.backend}"
            backend = program("benchmarks.backend", str(place.backend))
            opened = gate(*EVERYTHING, workers=workers, cluster=True)
            with (
                running(backend, runtime=None, url=url, folder=place.folder) as (pid, _),
                opened(place) as target,
            ):
                where = cores_for(workers, cores)
                _pin(pid, where.load)
                yield _measured(target, workers, where, seconds)


def table(readings: Sequence[Reading]) -> Iterator[str]:
    """The lines of a table of these."""
    yield (
        "| workers | cores | requests/s | us of CPU | PostgreSQL: transactions/s, idle | for each request | "
        "Redis: commands/s, idle | for each request |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for one in readings:
        cores = f"{len(one.cores.gate)}" + ("" if one.cores.apart else ", shared with all else")
        yield (
            f"| {one.workers} | {cores} | {one.requests:,.0f} | {one.microseconds:.0f} | {one.idle.transactions:.1f} | "
            f"{one.each.transactions:.3f} | {one.idle.commands:.1f} | {one.each.commands:.2f} |"
        )


def _measured(target: Target, workers: int, cores: Cores, seconds: float) -> Reading:
    assert target.pid is not None
    _pin(target.pid, cores.gate)
    send(target, body(1024), seconds=0.5)
    time.sleep(SETTLES_S)
    quiet, lasted = _counted(lambda: time.sleep(IDLE_S))
    idle = Asked(quiet.transactions / lasted, quiet.commands / lasted)
    spent, done = cpu_seconds(target.pid), list[Report]()
    loads = ",".join(map(str, cores.load))

    def load() -> None:
        with ThreadPoolExecutor(workers) as pool:
            sent = [
                pool.submit(send, target, body(1024), seconds=seconds, connections=CONNECTIONS, cores=loads)
                for _ in range(workers)
            ]
            done.extend(one.result() for one in sent)

    asked, lasted = _counted(load)
    spent = cpu_seconds(target.pid) - spent
    number = sum(report.requests for report in done)
    return Reading(
        workers,
        cores,
        requests=sum(report.requests / report.seconds for report in done),
        microseconds=spent * 1e6 / number,
        idle=idle,
        each=Asked(
            (asked.transactions - idle.transactions * lasted) / number,
            (asked.commands - idle.commands * lasted) / number,
        ),
    )


def _counted(work: Callable[[], None]) -> tuple[Asked, float]:
    """What is asked while `work` is done, and the seconds of it."""
    begun, transactions, commands = time.monotonic(), _transactions(), _commands()
    work()
    time.sleep(SETTLES_S)
    lasted = time.monotonic() - begun
    return Asked(_transactions() - transactions, _commands() - commands), lasted


def _transactions() -> int:
    query = f"SELECT xact_commit FROM pg_stat_database WHERE datname = '{DATABASE}'"  # noqa: S608
    command = ["psql", "--quiet", "--tuples-only", "--no-align", POSTGRES, "--command", query]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _commands() -> int:
    """Those that a gate sends; not what its scripts do within Redis."""
    parts = urlsplit(REDIS)
    with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379), timeout=5) as redis:
        redis.sendall(b"INFO commandstats\r\nQUIT\r\n")
        told = b"".join(iter(lambda: redis.recv(65_536), b""))
    return sum(int(calls) for calls in re.findall(rb"cmdstat_(?:evalsha|zrem|ping):calls=(\d+)", told))


def _pin(pid: int, cores: Sequence[int]) -> None:
    """Have a process, its children and all their threads run on these cores."""
    for member in family(pid):
        for thread in Path(f"/proc/{member}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)
