"""The machine that a run was made on, and what its kernel says of a process."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def describe() -> dict[str, str]:
    """What a reader has to know to judge the numbers."""
    model = re.search(r"model name\s*: (.*)", (PROC / "cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+) kB", (PROC / "meminfo").read_text())
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory[1]) / 1024**2:.0f} GiB" if memory else "",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "nginx": _nginx_version(),
    }


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, its threads and its children so far, to the nanosecond."""
    nanoseconds = 0
    for member in family(pid):
        for thread in (PROC / str(member) / "task").iterdir():
            nanoseconds += int((thread / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


def resident_megabytes(pid: int) -> float:
    """Memory of a process and its children that lies in RAM, pages that they share counted once for each."""
    pages = sum(int((PROC / str(member) / "statm").read_text().split()[1]) for member in family(pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    parents: dict[int, list[int]] = {}
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended while we looked
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    waiting = [pid]
    while waiting:
        member = waiting.pop()
        waiting += parents.get(member, [])
        yield member


def _nginx_version() -> str:
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    return said.partition("/")[2].strip()
