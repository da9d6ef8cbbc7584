"""What a run has found: kept as JSON, shown as tables, compared with another run."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from .figures import FIGURES, Figure

BASE = "nginx"
NOTHING_BETWEEN = "direct"
WORSE = 1.1
"""By which factor a median must have grown, with no overlap of the ranges, to count as a regression."""


class Results(msgspec.Struct, kw_only=True):
    """A run: the machine, how it was measured, and per target and figure one number for each round."""

    machine: dict[str, str]
    rounds: int
    seconds: float
    commit: str = ""
    targets: dict[str, dict[str, list[float]]] = {}
    workers: dict[str, list[float]] = {}
    """Requests per second of as many workers."""
    soak: list[float] = []
    """Megabytes of the gate under half load, from its begin to its end."""

    def add(self, target: str, readings: Mapping[str, float]) -> None:
        """Take in the readings of one round."""
        kept = self.targets.setdefault(target, {})
        for figure, value in readings.items():
            kept.setdefault(figure, []).append(value)

    def values(self, target: str, figure: Figure) -> list[float]:
        """The numbers of a figure, what the backend alone takes taken off where the figure is what was added."""
        values = self.targets.get(target, {}).get(figure.name, [])
        if figure.added and values:
            alone = statistics.median(self.targets[NOTHING_BETWEEN][figure.name])
            return [value - alone for value in values]
        return values


def read(path: Path) -> Results:
    """A run that was written. Raises `msgspec.MsgspecError` if the file is none."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def write(results: Results, path: Path) -> None:
    """Keep a run."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))


def tables(results: Results) -> str:
    """The run in Markdown: machine, and for each figure a line per target."""
    said = ", ".join(f"{name} {value}" for name, value in results.machine.items() if value)
    lines = [
        f"{said}; {results.rounds} rounds of {results.seconds:g} s; commit {results.commit or 'unknown'}.",
        "",
    ]
    for group in (
        [figure for figure in FIGURES if figure.compared],
        [figure for figure in FIGURES if not figure.compared],
    ):
        lines.append("| | " + " | ".join(f"{figure.name}, {figure.unit}" for figure in group) + " |")
        lines.append("|---" * (len(group) + 1) + "|")
        for target in results.targets:
            cells = [_cell(results, target, figure) for figure in group]
            if any(cells):
                lines.append(f"| {target} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += _extras(results)
    return "\n".join(lines)


def regressions(before: Results, after: Results) -> Iterator[str]:
    """A line for each figure that got worse from one run to the next.

    Costs are compared as multiples of nginx' in their own run, so that runs of a busy and a quiet hour, or of
    two machines, say something about each other; all other figures as they are.
    """
    for target in after.targets:
        for figure in FIGURES:
            old, new = _relative(before, target, figure), _relative(after, target, figure)
            if not old or not new:
                continue
            if figure.more_is_better:
                old, new = [1 / value for value in old], [1 / value for value in new]
            factor = statistics.median(new) / statistics.median(old) if statistics.median(old) > 0 else 1.0
            if factor > WORSE and min(new) > max(old):
                yield f"{target}: {figure.name}: {factor:.2f} times what it was"


def _relative(results: Results, target: str, figure: Figure) -> list[float]:
    values = results.values(target, figure)
    base = results.values(BASE, figure) if figure.compared else []
    if target == BASE or (figure.compared and not base):
        return []
    return [value / statistics.median(base) for value in values] if base else values


def _cell(results: Results, target: str, figure: Figure) -> str:
    values = results.values(target, figure)
    if not values or ((figure.compared or figure.added) and target == NOTHING_BETWEEN):
        return ""
    middle = statistics.median(values)
    text = _number(middle)
    if len(values) > 1:
        text += f" ({_number(min(values))}-{_number(max(values))})"
    base = results.values(BASE, figure) if figure.compared else []
    if base and target != BASE:
        text += f", **{middle / statistics.median(base):.1f}x**"
    return text


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _extras(results: Results) -> Iterator[str]:
    rates = {number: statistics.median(values) for number, values in results.workers.items()}
    if {"1", "2"} <= rates.keys():
        more = rates["2"] / rates["1"] - 1
        yield f"Workers: {rates['1']:,.0f} requests/s with one, {rates['2']:,.0f} with two: {more:+.0%}."
    if results.soak:
        first, last = results.soak[0], results.soak[-1]
        yield f"Soak at half load: {first:.1f} MB at its begin, {last:.1f} MB at its end: {last / first - 1:+.1%}."
