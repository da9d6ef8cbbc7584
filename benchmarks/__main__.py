"""`make bench` and `make bench-compare`: measure, and compare two measurements."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from . import machine
from .figures import RATE, Readings, body, measure, send
from .layers import layers
from .peers import OTHERS
from .results import NOTHING_BETWEEN, Results, read, regressions, tables, write
from .scaling import scaling
from .scaling import table as scaling_table
from .targets import (
    EVERYTHING,
    HERE,
    LOAD_CORE,
    OWN,
    SCALING,
    Opener,
    Place,
    Target,
    free_port,
    gate,
    program,
    running,
)

Measure = Callable[[Target, float], Readings]
RESULTS = HERE / "results"
NEEDED = {"nginx": "nginx", "taskset": "util-linux"}
"""Programs that a run cannot do without, and the Debian packages that have them."""


def main() -> None:
    """Do what the command line says; exit code 1 where a comparison has found a regression."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure")
    run.add_argument("--rounds", type=int, default=5, help="rounds through all targets")
    run.add_argument("--seconds", type=float, default=2.0, help="seconds of each load")
    run.add_argument("--only", help="targets, separated by commas; else all")
    run.add_argument("--peers", action="store_true", help="measure other gateways too")
    run.add_argument(
        "--soak", type=float, default=0.0, metavar="SECONDS", help="end with a soak at half load"
    )
    run.add_argument("--into", type=Path, help="file for the results; else one named by the time")
    compare = commands.add_parser("compare", help="say what got worse")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    commands.add_parser("layers", help="measure each layer by itself, within this process")
    more = commands.add_parser("scaling", help="measure 1, 2 and 4 workers on PostgreSQL and Redis")
    more.add_argument("--seconds", type=float, default=4.0, help="seconds of each load")
    options = parser.parse_args()
    if options.command == "layers":
        _print_layers()
        return
    if options.command == "scaling":
        _require(NEEDED)
        print("\n".join(scaling_table(list(scaling(options.seconds)))))
        return
    if options.command == "compare":
        sys.exit(_compare(options.before, options.after))
    _require(NEEDED)
    chosen = {**OWN, **(OTHERS if options.peers else {})}
    if options.only:
        wanted = {NOTHING_BETWEEN, *options.only.split(",")}  # what the backend alone takes is taken off
        if unknown := wanted - {*OWN, *OTHERS}:
            parser.error(
                f"--only: no target {', '.join(sorted(unknown))} (known: {', '.join({**OWN, **OTHERS})})"
            )
        chosen = {name: opener for name, opener in {**OWN, **OTHERS}.items() if name in wanted}
    into = options.into or RESULTS / time.strftime("%Y-%m-%d-%H%M%S.json", time.gmtime())
    results = _run(
        chosen, options.rounds, options.seconds, scaling=not options.only, soak=options.soak, into=into
    )
    print(tables(results))
    print(f"\nWritten to {into}", file=sys.stderr)


def _run(
    chosen: Mapping[str, Opener], rounds: int, seconds: float, *, scaling: bool, soak: float, into: Path
) -> Results:
    results = Results(machine=machine.describe(), rounds=rounds, seconds=seconds, commit=_commit())
    for number in range(rounds):
        for name, opener in chosen.items():
            readings = _attempt(name, opener, seconds)
            results.add(name, readings)
            _say(f"round {number + 1} of {rounds}: {name}: {_short(readings)}")
            write(results, into)
        for workers, opener in SCALING.items() if scaling else ():
            rate = _attempt(f"{workers} workers", opener, seconds, what=_saturation)
            results.workers.setdefault(workers, []).extend(rate.values())
    if soak:
        with _opened(gate(*EVERYTHING)) as target:
            results.soak = list(_soak(target, soak))
    results.workers = {number: rates for number, rates in results.workers.items() if rates}
    write(results, into)
    return results


def _attempt(name: str, opener: Opener, seconds: float, what: Measure = measure) -> Readings:
    """What can be measured of a target; one that does not run is told of and left out of the round."""
    try:
        with _opened(opener) as target:
            return what(target, seconds)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        _say(f"{name}: left out: {error}")
        return {}


@contextmanager
def _opened(opener: Opener) -> Iterator[Target]:
    """A target with a backend of its own."""
    with tempfile.TemporaryDirectory(prefix="llmgate-bench-") as folder:
        place = Place(Path(folder), free_port(), free_port())
        url = f"http://127.0.0.1:{place.backend}"
        backend = program("benchmarks.backend", str(place.backend))
        with running(backend, runtime=LOAD_CORE, url=url, folder=place.folder), opener(place) as target:
            yield target


def _saturation(target: Target, seconds: float) -> Readings:
    report = send(target, body(1024), seconds=seconds, connections=64)
    return {"saturation": report.requests / report.seconds}


def _soak(target: Target, seconds: float) -> Iterator[float]:
    """Megabytes of the target every so often, under half of what it can do."""
    most = _saturation(target, 2.0)["saturation"]
    pieces = 10
    for _ in range(pieces + 1):
        assert target.pid is not None
        yield machine.resident_megabytes(target.pid)
        send(target, body(1024), seconds=seconds / pieces, rate=max(RATE, most / 2))


def _print_layers() -> None:
    """A line for each stack of layers: what it costs, and what it adds to the one before."""
    print("| | event loop, us | other threads, us | added, us |\n|---|---|---|---|")
    before = 0.0
    for name, own, others in layers():
        print(f"| {name} | {own:.1f} | {others:.1f} | {own + others - before:.1f} |")
        before = own + others


def _compare(before: Path, after: Path) -> int:
    found = list(regressions(read(before), read(after)))
    print("\n".join(found) or "Nothing got worse.")
    return bool(found)


def _require(programs: Mapping[str, str]) -> None:
    if missing := [package for name, package in programs.items() if shutil.which(name) is None]:
        sys.exit(
            f"Needed and not found: {', '.join(missing)}. Install with: apt-get install {' '.join(missing)}"
        )


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=HERE
    )
    return done.stdout.strip()


def _short(readings: Readings) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in readings.items())


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
