"""Every metric of the gate, as data: its name, its labels, and how several workers make one number of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
GAP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `bounds` are a histogram's; `merge` makes one gauge out of those of several workers."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    documentation: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    merge: Callable[[Iterable[float]], float] = sum

    @property
    def width(self) -> int:
        """How many numbers a row has; a histogram's are its buckets, the one beyond all bounds, and the sum."""
        return len(self.bounds) + 2 if self.bounds else 1


REQUESTS = Family(
    "counter",
    "llmgate_requests",
    "Requests, by how they were answered.",
    ("route", "upstream", "model", "status"),
)
DURATION = Family(
    "histogram",
    "llmgate_request_duration_seconds",
    "From the request's first byte to the end of its answer.",
    ("route",),
    SECONDS,
)
FIRST_BYTE = Family(
    "histogram",
    "llmgate_first_byte_seconds",
    "From the request's first byte to the first byte of the answer's body.",
    ("route", "upstream"),
    SECONDS,
)
GAPS = Family(
    "histogram",
    "llmgate_chunk_gap_seconds",
    "Between two pieces of a streamed answer.",
    ("route",),
    GAP_SECONDS,
)
TOKENS = Family(
    "counter",
    "llmgate_tokens",
    "Tokens, by direction and by how the count was come by.",
    ("route", "upstream", "model", "direction", "certainty"),
)
REFUSED = Family(
    "counter", "llmgate_refused", "Requests that the gate answered itself, by reason.", ("route", "reason")
)
IN_FLIGHT = Family("gauge", "llmgate_requests_in_flight", "Requests being answered now.", ("route",))
LAG = Family(
    "gauge",
    "llmgate_ledger_lag_seconds",
    "Age of the oldest usage record not yet committed.",
    merge=max,
)
BACKLOG = Family("gauge", "llmgate_ledger_backlog", "Usage records not yet committed.")
LEDGER_UP = Family("gauge", "llmgate_ledger_up", "1 while the store takes usage records.", merge=min)
ACCOUNTS = Family(
    "gauge", "llmgate_quota_accounts", "Quotas in use, by whether any of it is left.", ("state",)
)
HELD = Family("gauge", "llmgate_quota_held", "Held by running requests, by unit.", ("unit",))
DRIFT = Family(
    "gauge",
    "llmgate_reconcile_drift_tokens",
    "Tokens that an upstream has counted over what the ledger has, in the latest comparison.",
    ("upstream", "direction"),
    merge=max,
)
LIMITS_UP = Family(
    "gauge",
    "llmgate_limits_store_up",
    "1 while the store that rate limits are counted in (Redis) answers.",
    merge=min,
)
_REPLICA = ("upstream", "replica")
UPSTREAM_UP = Family("gauge", "llmgate_upstream_up", "1 while a replica is healthy.", _REPLICA, merge=min)
KEY_REFUSED = Family(
    "gauge", "llmgate_upstream_key_refused", "1 while it refuses the gate's own key.", _REPLICA, merge=max
)
BREAKER = Family(
    "gauge", "llmgate_upstream_breaker_open", "1 while its circuit is open.", _REPLICA, merge=max
)
RUNNING = Family("gauge", "llmgate_upstream_in_flight", "Requests it is answering.", _REPLICA)
_QUEUE = ("upstream", "class")
QUEUED = Family("gauge", "llmgate_queue_length", "Requests that wait for a place at an upstream.", _QUEUE)
QUEUE_WAIT = Family(
    "histogram",
    "llmgate_queue_wait_seconds",
    "From a request's arrival at the queue of an upstream to its place; 0 where one was free.",
    _QUEUE,
    SECONDS,
)
QUEUE_LEFT = Family(
    "counter",
    "llmgate_queue_turned_away",
    "Requests that got no place: full (others' turns came first), timeout, or left (by their clients).",
    (*_QUEUE, "reason"),
)

LOOP_LAG = Family(
    "histogram",
    "llmgate_event_loop_lag_seconds",
    "By how much a timer of the event loop was late, twice a second: what every request waits, too.",
    (),
    GAP_SECONDS,
)
CONNECTIONS = Family("gauge", "llmgate_connections", "Open connections of clients.")
CONNECTIONS_CLOSED = Family(
    "counter",
    "llmgate_connections_closed",
    "Connections that the gate ended: evicted (idle, to make room), refused (no room), timed_out (a slow client).",
    ("reason",),
)
LOG_DROPPED = Family(
    "counter",
    "llmgate_log_lines_dropped",
    "Lines lost because the reader of a log stood still: access (stdout) or messages (stderr).",
    ("log",),
)

_ALL = (
    *(REQUESTS, DURATION, FIRST_BYTE, GAPS, TOKENS, REFUSED, IN_FLIGHT),
    *(LAG, BACKLOG, LEDGER_UP, ACCOUNTS, HELD, DRIFT, LIMITS_UP),
    *(UPSTREAM_UP, KEY_REFUSED, BREAKER, RUNNING),
    *(QUEUED, QUEUE_WAIT, QUEUE_LEFT),
    *(LOOP_LAG, CONNECTIONS, CONNECTIONS_CLOSED, LOG_DROPPED),
)
FAMILIES = MappingProxyType({family.name: family for family in _ALL})
"""Every metric of the gate by its name."""
