"""The figures: what is asked of a target, and what is read off it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from .load import Load, Report
from .machine import cpu_seconds, resident_megabytes
from .targets import HERE, LOAD_CORE, Target, program

CHAT = "/v1/chat/completions"
CHUNKS = 100
RATE = 200.0
POLL_INTERVAL_S = 0.2
CROWD = 1000
CROWD_PAUSE = 0.04
"""Seconds between two chunks of each of the `CROWD`: 25,000 chunks a second in all, about what one core of
nginx does at half load."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a target.

    `compared`: it is a cost, and worth naming as a multiple of nginx'. `added`: what the backend alone takes
    has to be taken off.
    """

    name: str
    unit: str
    compared: bool = False
    added: bool = False
    more_is_better: bool = False


FIGURES = (
    Figure("1 kB request", "us of CPU", compared=True),
    Figure("32 kB request", "us of CPU", compared=True),
    Figure("fast chunk", "us of CPU", compared=True),
    Figure("paced chunk", "us of CPU", compared=True),
    Figure("saturation", "requests/s", more_is_better=True),
    Figure("added p50", "ms", added=True),
    Figure("added p99", "ms", added=True),
    Figure("added first event", "ms", added=True),
    Figure("idle", "MB"),
    Figure("under load", "MB"),
    Figure("1,000 streams", "MB"),
    Figure("1,000 streams: gap p99", "ms"),
    Figure("start", "s"),
)

Readings = dict[str, float]
"""Figures of one target in one round, by name."""


def body(size: int, wish: str = "size=1024", *, usage: bool = False) -> str:
    """A chat request of about `size` bytes, as OpenAI's packages write it: without spaces between fields.

    `wish` is for the backend: what answer it shall give (see `backend`). With `usage` a stream's is asked for.
    """
    messages = [{"role": "system", "content": f"answer {wish};"}, {"role": "user", "content": ""}]
    asked = {"model": "m", "max_tokens": 128, "stream": "chunks" in wish, "messages": messages}
    if usage:
        asked["stream_options"] = {"include_usage": True}
    bare = json.dumps(asked, separators=(",", ":"))
    messages[1]["content"] = "word " * ((size - len(bare)) // 5)
    return json.dumps(asked, separators=(",", ":"))


def send(
    target: Target,
    asked: str,
    *,
    seconds: float,
    connections: int = 16,
    rate: float = 0.0,
    look: Callable[[], None] = lambda: None,
    cores: str = str(LOAD_CORE),
) -> Report:
    """Put a load on `target` from the load's `cores`, calling `look` now and then while it lasts.

    Raises `RuntimeError` if any request failed.
    """
    load = Load(
        url=target.url + CHAT,
        headers=dict(target.headers),
        body=asked,
        ends_with="[DONE]" if '"stream":true' in asked else "}",
        seconds=seconds,
        connections=connections,
        rate=rate,
    )
    command = [
        "taskset",
        "--cpu-list",
        cores,
        *program("benchmarks.load", msgspec.json.encode(load).decode()),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=HERE.parent) as child:
        output = None
        while output is None:
            try:
                output, _ = child.communicate(timeout=POLL_INTERVAL_S)
            except subprocess.TimeoutExpired:
                look()
    if child.returncode:
        raise RuntimeError(f"the load on {target.url} ended with {child.returncode}")
    report = msgspec.json.decode(output, type=Report)
    if report.failed or not report.requests:
        raise RuntimeError(f"{target.url}: {report.failed} requests failed, {report.requests} did not")
    return report


def cost(target: Target, asked: str, *, seconds: float, connections: int = 16) -> tuple[float, Report]:
    """Microseconds of the target's CPU for each request under a load, and the load's report."""
    before = 0.0 if target.pid is None else cpu_seconds(target.pid)
    report = send(target, asked, seconds=seconds, connections=connections)
    after = 0.0 if target.pid is None else cpu_seconds(target.pid)
    return (after - before) * 1e6 / report.requests, report


def requests(target: Target, seconds: float) -> Readings:
    """Plain requests, one after the other on each connection: a prompt, and an answer of 1 kB."""
    small, report = cost(target, body(1024), seconds=seconds)
    large, _ = cost(target, body(32 * 1024), seconds=seconds)
    return {
        "1 kB request": small,
        "32 kB request": large,
        "saturation": report.requests / report.seconds,
    }


def streams(target: Target, seconds: float) -> Readings:
    """Streams of `CHUNKS`, as fast as they go and 10 ms apart, the request's own cost included."""
    fast, _ = cost(target, body(1024, f"chunks={CHUNKS}"), seconds=seconds)
    paced, _ = cost(target, body(1024, f"chunks={CHUNKS},pause=0.01"), seconds=seconds, connections=50)
    return {"fast chunk": fast / CHUNKS, "paced chunk": paced / CHUNKS}


def latency(target: Target, seconds: float) -> Readings:
    """At a fixed rate: time to the end of a plain answer; and memory after it."""
    plain = send(target, body(1024), seconds=seconds, rate=RATE)
    readings = {"added p50": plain.latency.p50 * 1e3, "added p99": plain.latency.p99 * 1e3}
    return readings if target.pid is None else readings | {"under load": resident_megabytes(target.pid)}


def first_event(target: Target, seconds: float) -> Readings:
    """At a fixed rate: time to the first event of a stream."""
    streamed = send(target, body(1024, "chunks=5,pause=0.01"), seconds=seconds, rate=RATE)
    return {"added first event": streamed.first.p50 * 1e3}


def crowd(target: Target, seconds: float) -> Readings:
    """`CROWD` streams at once: memory while they are open, and how even they are.

    They ask for their usage: the event that tells it is withheld from who does not, which is a gap of two pauses in
    each stream that was no delay.
    """
    chunks = round((seconds + 1) / CROWD_PAUSE)
    asked = body(1024, f"chunks={chunks},pause={CROWD_PAUSE}", usage=True)
    most = 0.0

    def look() -> None:
        nonlocal most
        if target.pid is not None:
            most = max(most, resident_megabytes(target.pid))

    report = send(target, asked, seconds=seconds, connections=CROWD, look=look)
    gaps = {"1,000 streams: gap p99": report.gap.p99 * 1e3}
    return gaps if target.pid is None else gaps | {"1,000 streams": most}


def measure(target: Target, seconds: float) -> Readings:
    """Every figure of a target that has just started; those of a load that it fails are said and left out."""
    readings: Readings = {}
    if target.pid is not None:
        readings["start"] = target.started_in
        readings["idle"] = resident_megabytes(target.pid)
    send(target, body(1024), seconds=0.3)
    for part in (requests, streams, latency, first_event, crowd):
        try:
            readings |= part(target, seconds)
        except RuntimeError as error:
            print(f"{part.__name__}: left out: {error}", file=sys.stderr)
    return readings
