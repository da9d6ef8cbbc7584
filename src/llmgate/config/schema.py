"""The settings of gate.toml: one class for each table, one field for each key, with its documentation.

The reader, the defaults, `llmgate check` and the reference all come from here. Times are seconds, sizes
are bytes, prices and money are in the operator's own currency.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from .addresses import ASGI_APP, Address, Network
from .annotations import REST, UNIQUE
from .paths import PUBLIC_API, Operation
from .secrets import Secret, SecretUrl
from .units import BYTES, SECONDS, UNIT
from .values import (
    DialectName,
    FileMode,
    HeaderName,
    HostPattern,
    LimitsUrl,
    Model,
    Name,
    Origin,
    Prefix,
    ProxyUrl,
    QuotaWindow,
    ReplicaUrl,
    SmtpUrl,
    StoreUrl,
    Tenant,
    Text,
    UrlPath,
)


def doc(text: str) -> Meta:
    """The documentation of a setting."""
    return Meta(description=text)


T = TypeVar("T")
Several = Annotated[tuple[T, ...], Meta(extra={UNIQUE: True})]
Some = Annotated[tuple[T, ...], Meta(extra={UNIQUE: True}, min_length=1)]
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=31_536_000, extra={UNIT: SECONDS})]
Bytes = Annotated[int, Meta(ge=1, extra={UNIT: BYTES})]
Weight = Annotated[float, Meta(ge=0.001, le=1000)]
ErrorStatus = Annotated[int, Meta(ge=400, le=599)]
Amount = Annotated[float, Meta(ge=0, le=1e12)]
LimitUnit = Literal["requests", "tokens", "concurrent"]
QuotaUnit = Literal["tokens", "requests", "money"]


def _written(table: Struct, units: tuple[T, ...]) -> T:
    return next(unit for unit in units if getattr(table, str(unit)) is not None)


class Tls(Struct, frozen=True, kw_only=True):
    """TLS on the gate's TCP addresses. The files are read again on SIGHUP."""

    certificate: Annotated[
        Path | None, doc("Certificate in PEM, those of its issuers behind it; without it, no TLS.")
    ] = None
    key: Annotated[Path | None, doc("Its private key in PEM, not encrypted.")] = None
    client_ca: Annotated[
        Path | None, doc("Certificates in PEM of which each client's has to descend from one.")
    ] = None
    listen: Annotated[
        Several[Address], doc("Addresses that speak TLS; none named: all but Unix sockets.")
    ] = ()


class Gate(Struct, frozen=True, kw_only=True):
    """The process: its listeners and the limits of a connection."""

    listen: Annotated[Some[Address], doc("Where to listen: HOST:PORT, [IPV6]:PORT or unix:PATH.")] = (
        Address("127.0.0.1", 8000),
    )
    workers: Annotated[
        int,
        Meta(ge=1, le=1024),
        doc("Server processes. More than one needs PostgreSQL and a [limits_store] for all."),
    ] = 1
    max_body: Annotated[Bytes, doc("Largest request body, in bytes; over it: 413.")] = 16_777_216
    body_budget: Annotated[
        Bytes,
        doc(
            "Bytes of request bodies (of over 64 kB each) that each worker has in memory at once; over it: 503."
        ),
    ] = 536_870_912
    body_budget_per_key: Annotated[
        Bytes, doc("Of these, for one key, or one user or address without a key; over it: 429.")
    ] = 134_217_728
    max_header: Annotated[Bytes, doc("Largest request head, in bytes; over it: 431.")] = 65_536
    max_connections: Annotated[
        Count,
        doc(
            "Most open connections of one worker at one address. Over it the longest idle one closes, else 503. "
            "Less where the system allows fewer descriptors."
        ),
    ] = 10_000
    max_connections_per_address: Annotated[
        Count | None,
        doc(
            "Most of them from one IP address (IPv6: from one network of 64 bits), over it: 503; without it, half "
            "of max_connections. Loopback and trusted_proxies have no such bound."
        ),
    ] = None
    keep_alive: Annotated[
        Seconds,
        doc(
            "Seconds that an idle connection is kept. Behind a balancer that reuses connections, more than its "
            "own time: over 600 for Google's, over 60 for AWS's."
        ),
    ] = 75.0
    header_timeout: Annotated[
        Seconds, doc("Seconds for a request's head, also for a TLS handshake; over it: 408.")
    ] = 10.0
    body_timeout: Annotated[
        Seconds, doc("Seconds for a request's body, as far as the gate is ready to read it; over it: 408.")
    ] = 300.0
    send_timeout: Annotated[
        Seconds, doc("Seconds in which a client has to take something of an answer that waits for it.")
    ] = 30.0
    min_rate: Annotated[
        Annotated[int, Meta(ge=0)],
        doc(
            "Least bytes a second of a body, on average of each header_timeout, and of an answer that waits, of "
            "each send_timeout; slower clients are cut off. 0: no such bound."
        ),
    ] = 240
    shutdown_grace: Annotated[
        float,
        Meta(ge=0, le=86_400, extra={UNIT: SECONDS}),
        doc("Seconds that open requests get to finish on shutdown."),
    ] = 30.0
    access_log: Annotated[bool, doc("Write one line of JSON for each request.")] = True
    docs: Annotated[bool, doc("Serve the documentation of the plugins' APIs at /docs, if there are any.")] = (
        True
    )
    trusted_proxies: Annotated[
        Several[Network], doc("Networks of proxies whose X-Forwarded-For is believed.")
    ] = ()
    trust_unix_sockets: Annotated[
        bool, doc("Whoever connects through a Unix socket is a proxy whose X-Forwarded-For is believed.")
    ] = False
    ipv6_prefix: Annotated[
        int,
        Meta(ge=16, le=128),
        doc(
            "Bits of an IPv6 address that tell clients apart in limits per ip: a customer gets a /64, or more."
        ),
    ] = 64
    hosts: Annotated[
        Several[HostPattern],
        doc(
            'Names that requests may give as Host, such as "gate.example.com" or "*.example.com"; others: 421. '
            "IP addresses are always taken. None named: any name, but at a loopback address only names without a "
            "dot and *.localhost; a proxy before it that passes the public name on needs that name here."
        ),
    ] = ()
    socket_mode: Annotated[FileMode, doc("Mode of Unix sockets, in octal: who may connect.")] = "660"
    tls: Tls = Tls()

    @property
    def is_proxied(self) -> bool:
        """Whether a proxy seems to bring others to its loopback addresses: one is trusted, or it has a public name."""
        names = (host for host in self.hosts if not host.endswith(".localhost"))
        return bool(self.trusted_proxies) or any(host == "*" or "." in host for host in names)


class Metrics(Struct, frozen=True, kw_only=True):
    """Metrics for Prometheus."""

    enabled: Annotated[bool, doc("Serve them.")] = True
    path: Annotated[UrlPath, doc("Path that is scraped.")] = "/metrics"
    listen: Annotated[Address | None, doc("Address of its own; without one, the gate's.")] = None


class Store(Struct, frozen=True, kw_only=True):
    """The database: users, keys, quotas and the ledger."""

    url: Annotated[
        StoreUrl, doc("Database; the path of an SQLite file starts in the folder of gate.toml.")
    ] = SecretUrl("sqlite:///gate.db")
    synchronous: Annotated[
        Literal["normal", "full"],
        doc("SQLite: full survives a power cut too, at one fsync for each commit."),
    ] = "normal"
    busy_timeout: Annotated[Seconds, doc("Seconds to wait for a lock of another process.")] = 5.0
    journals: Annotated[
        Path | None,
        doc(
            "Folder of the journals that outlive kill -9; without one, FILE.workers beside an SQLite "
            "file, else llmgate.workers. All gates of one store on a host have the same one; gates of several "
            "stores may share it, as each journal says whose it is."
        ),
    ] = None
    fail_open: Annotated[
        bool,
        doc("Let requests through while the store is away, instead of refusing them."),
    ] = False
    sealing_keys: Annotated[
        Several[Secret],
        doc(
            "What seals the secrets that plugins have to show again: random texts of 32 characters or more, "
            "the newest first. Without one, plugins that need it do not start."
        ),
    ] = ()


class Ledger(Struct, frozen=True, kw_only=True):
    """When an answer has ended, for good."""

    durability: Annotated[
        Literal["journal", "commit"] | None,
        doc(
            "journal: when the journal of this host has its record, which goes to the database within 0.05 seconds; "
            "it survives the death of every process, not a power cut. commit: when the database has its record. "
            "Without one, journal where the store is an SQLite file with synchronous = normal, which survives just "
            "as much; else commit."
        ),
    ] = None


class Mail(Struct, frozen=True, kw_only=True):
    """The mail server, for plugins that send mail."""

    url: Annotated[
        SmtpUrl | None, doc("smtp://HOST:PORT, or smtps://USER:PASSWORD@HOST; without it, no mail goes out.")
    ] = None
    sender: Annotated[Text, doc("Whom mails are from: user@host, or Name <user@host>.")] = (
        "llmgate <llmgate@localhost>"
    )
    timeout: Annotated[Seconds, doc("Seconds for one mail, until the server has taken it.")] = 4.0


class LimitsStore(Struct, frozen=True, kw_only=True):
    """Where rate limits are counted: what several workers or hosts share."""

    url: Annotated[
        LimitsUrl | None,
        doc(
            "memory://, as without one, is each process for itself; redis:// (or rediss://) counts everything for "
            "all. Others that the limits library knows (redis+cluster://, redis+sentinel://, redis+unix://, "
            "valkey://, memcached:// ...) count windows for all, but concurrent requests and leaky buckets in each "
            "process."
        ),
    ] = None
    prefix: Annotated[Text, doc("Stands before every key: several gates can use one server.")] = "llmgate"
    timeout: Annotated[Seconds, doc("Seconds to wait for it, to connect and again for an answer.")] = 0.5
    fail_open: Annotated[
        bool,
        doc("Let requests through without rate limits while it does not answer, instead of refusing them."),
    ] = False

    @property
    def redis(self) -> SecretUrl | None:
        """The one Redis server in which everything is counted, if that is where."""
        return self.url if self.url is not None and self.url.scheme in ("redis", "rediss") else None


class Reconcile(Struct, frozen=True, kw_only=True):
    """Comparing the ledger with what the upstreams count themselves."""

    interval: Annotated[
        Seconds | None, doc("Seconds of each comparison, one after the other; without it, none.")
    ] = None


class Sessions(Struct, frozen=True, kw_only=True):
    """Session tokens (JWT)."""

    lifetime: Annotated[Seconds, doc("Seconds until a session ends.")] = 1800.0
    max_age: Annotated[Seconds, doc("Seconds after a log-in until which sessions can be refreshed.")] = (
        30 * 86_400.0
    )
    algorithm: Annotated[
        Literal["HS256", "RS256"], doc("Signature; RS256 offers its public keys to others.")
    ] = "HS256"
    issuer: Annotated[Text, doc("The iss and aud of the tokens; others are refused.")] = "llmgate"


class Passwords(Struct, frozen=True, kw_only=True):
    """Rules for new passwords."""

    min_length: Annotated[int, Meta(ge=1, le=1024), doc("Fewest characters.")] = 8
    max_bytes: Annotated[Count | None, doc("Most bytes of UTF-8.")] = None


class Health(Struct, frozen=True, kw_only=True):
    """Active health checks of each replica."""

    enabled: Annotated[bool, doc("Probe the replicas.")] = True
    path: Annotated[UrlPath | None, doc("Path that is probed; without one, the dialect's.")] = None
    interval: Annotated[Seconds, doc("Seconds between two probes of a replica.")] = 10.0
    timeout: Annotated[Seconds, doc("Seconds until a probe has failed.")] = 5.0
    rise: Annotated[Count, doc("Good probes in a row that bring a replica back.")] = 2
    fall: Annotated[Count, doc("Failed probes in a row that take a replica out.")] = 3


class Breaker(Struct, frozen=True, kw_only=True):
    """Circuit breaker of each replica."""

    failures: Annotated[Count, doc("Failed requests in a row that open the circuit.")] = 5
    open_for: Annotated[Seconds, doc("Seconds until one request may try again.")] = 10.0
    statuses: Annotated[
        Several[ErrorStatus], doc("Answers that are failures, besides connections that fail or break.")
    ] = (502, 504)


class Queue(Struct, frozen=True, kw_only=True):
    """Who waits where every replica has its max_in_flight."""

    max: Annotated[
        Annotated[int, Meta(ge=0, le=100_000)],
        doc(
            "Most requests that wait; over it the longest line gives way: 503 with Retry-After. 0: nobody waits."
        ),
    ] = 200
    timeout: Annotated[Seconds, doc("Seconds that a request waits; then: 503 with Retry-After.")] = 30.0
    per: Annotated[
        Literal["key", "organization"],
        doc("Between whom it is fair: keys, or organizations and keys without one."),
    ] = "key"
    weights: Annotated[
        Mapping[Tenant, Weight],
        doc(
            'Shares of tenants, such as `"key:17" = 2`, in place of what keys and organizations have themselves.'
        ),
    ] = field(default_factory=dict)


class Upstream(Struct, frozen=True, kw_only=True):
    """A backend, with one or more replicas."""

    urls: Annotated[
        Some[ReplicaUrl],
        doc(
            "Roots of the replicas; the path of a route is added to them. "
            "`app:` is the app that `llmgate.gate.embed.Gate` is put around."
        ),
    ]
    dialect: Annotated[DialectName, doc("Family of the backend: how it reports usage and health.")] = (
        "generic"
    )
    engine: Annotated[
        Literal["httptools", "httpx"],
        doc("HTTP client: httptools is fast, httpx can be mocked and extended."),
    ] = "httptools"
    api_key: Annotated[Secret | None, doc("Key that the backend asks for.")] = None
    api_key_header: Annotated[
        Literal["authorization", "x-api-key", "api-key"],
        doc("Header that carries it; in Authorization it is a bearer token."),
    ] = "authorization"
    headers: Annotated[
        Mapping[HeaderName, Secret], doc("Headers to send with every request, in place of the callers'.")
    ] = field(default_factory=dict)
    retry_statuses: Annotated[
        Several[ErrorStatus], doc("Answers of a replica that are tried on another, if there is one.")
    ] = (429, 503, 529)
    connect_timeout: Annotated[Seconds, doc("Seconds to connect.")] = 5.0
    first_byte_timeout: Annotated[Seconds, doc("Seconds until the answer begins.")] = 600.0
    idle_timeout: Annotated[
        Seconds,
        doc(
            "Seconds between two pieces of an answer; until the first one, first_byte_timeout if that is longer."
        ),
    ] = 300.0
    heartbeat_interval: Annotated[
        Seconds | None,
        doc(
            "Seconds between comments that keep an event stream alive until its first event, for proxies and clients "
            "that give up on silence; without it, none. They may begin before the backend answers: an error of its "
            "is an event of the stream then."
        ),
    ] = None
    models: Annotated[
        Mapping[Model, Model], doc("Aliases: the name that callers use = the backend's own.")
    ] = field(default_factory=dict)
    ca_file: Annotated[
        Path | None, doc("Certificates in PEM that are trusted for it, beside those of the system.")
    ] = None
    proxy: Annotated[
        ProxyUrl | None, doc('Proxy on the way to it; needs engine = "httpx". The environment names none.')
    ] = None
    list_models: Annotated[
        bool,
        doc("Ask once a minute what it serves: for the metrics' names, and to see that api_key is good."),
    ] = True
    context_length: Annotated[
        Count | None,
        doc(
            "Tokens that a prompt and its answer may have together; without it, what the backend's list says."
        ),
    ] = None
    max_output_tokens: Annotated[
        Count | None, doc("Limit of an answer's tokens for requests that name none.")
    ] = None
    forwarded: Annotated[bool, doc("Add X-Forwarded-For, -Host and -Proto.")] = False
    max_in_flight: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        doc(
            "Requests to models that each replica is given at once; the rest waits in the queue. Without it, any."
        ),
    ] = None
    queue: Queue = Queue()
    balance: Annotated[
        Literal["least_busy", "prefix", "sticky"],
        doc(
            "Which replica answers: the least busy one; the one that has seen the head of the prompt; or the one that "
            "has answered the same caller. Where that one is busier than the others by a quarter, another one."
        ),
    ] = "least_busy"
    sticky_header: Annotated[
        HeaderName | None,
        doc('Of balance = "sticky": the header that tells callers apart; without one, the end user and key.'),
    ] = None
    send_priority: Annotated[
        bool,
        doc(
            "Write the caller's priority into the request as vLLM's own (`vllm serve --scheduling-policy priority`); "
            "a priority that the caller wrote is taken out."
        ),
    ] = False
    lora: Annotated[
        bool,
        doc(
            "It serves LoRA adapters: prompt_logprobs, and echo with logprobs, which can end vLLM then, are refused."
        ),
    ] = False
    health: Health = Health()
    breaker: Breaker = Breaker()

    @property
    def is_asgi_app(self) -> bool:
        """Whether this is the app that the gate is put around."""
        return self.urls == (ASGI_APP,)


class Price(Struct, frozen=True, kw_only=True):
    """What a model costs, for one million tokens, and for the time at an engine."""

    input: Annotated[Amount, doc("Tokens of the prompt.")]
    output: Annotated[Amount, doc("Tokens of the answer.")]
    cached_input: Annotated[
        Amount | None,
        doc("Tokens of the prompt that the backend had cached; without it, as input."),
    ] = None
    second: Annotated[
        Amount,
        doc(
            "One second of an engine's work, charged once it is done: a quota of money may be passed by what runs. The "
            "engine's own time where it tells one, else from its asking to the end of its answer."
        ),
    ] = 0.0


class Route(Struct, frozen=True, kw_only=True):
    """What is let through to an upstream, and by which rules."""

    path: Annotated[UrlPath, doc("Prefix of the paths that belong to this route.")]
    upstream: Annotated[Name | None, doc("Where they go: a NAME of [upstreams.NAME].")] = None
    upstreams: Annotated[
        Several[Name], doc("In place of upstream, where there are several: the model of a request decides.")
    ] = ()
    charge: Annotated[
        Literal["answered", "asked"],
        doc("Which model's price a request has: the one that answered, or the one that was asked for."),
    ] = "answered"
    name: Annotated[
        str, Meta(max_length=256), doc("Name in limits, metrics and logs; without one, the path.")
    ] = ""
    upstream_path: Annotated[
        UrlPath | None, doc("Prefix that takes the place of path; without one, it stays.")
    ] = None
    listen: Annotated[Address | None, doc("Address of its own; without one, the gate's.")] = None
    allow: Annotated[Several[Operation], doc('Operations below path that are let through; ["*"] is all.')] = (
        PUBLIC_API
    )
    authentication: Annotated[Literal["required", "none"], doc("Whether a caller has to be known.")] = (
        "required"
    )
    credentials: Annotated[
        Some[Literal["bearer", "x-api-key", "api-key", "cookie"]],
        doc("Where a credential may be."),
    ] = ("bearer", "x-api-key", "api-key")
    roles: Annotated[Several[Name], doc("Roles of which a caller needs one; none: any caller.")] = ()
    models: Annotated[Several[Model] | None, doc("Models that may be asked for; without it, any.")] = None
    default_model: Annotated[Model | None, doc("Model for requests that name none.")] = None
    middleware: Annotated[
        Several[Text], doc("From the outside in: ratelimit, quota, accounting, or PLUGIN.NAME.")
    ] = (
        "ratelimit",
        "quota",
        "accounting",
    )
    cors_origins: Annotated[
        Several[Origin],
        doc("Origins of pages in browsers that may call it, such as https://chat.example.com."),
    ] = ()
    end_user_header: Annotated[
        HeaderName | None,
        doc(
            "Header in which keys that act for others (`llmgate key update --names-end-users`) say for whom; it "
            "goes no further. Without it, or where it is not sent, the body's `user`."
        ),
    ] = None
    quota_status: Annotated[Literal[402, 429], doc("Status of a spent quota.")] = 429

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "name", self.name or self.path)

    @property
    def served_by(self) -> tuple[Name, ...]:
        """Its upstreams, the first one that is asked without a model first."""
        return self.upstreams if self.upstream is None else (self.upstream,)


class Target(Struct, frozen=True, kw_only=True):
    """A place where a model is served."""

    upstream: Annotated[Name, doc("A NAME of [upstreams.NAME].")]
    model: Annotated[Model | None, doc("Its name there; without one, the name that was asked for.")] = None
    weight: Annotated[Amount | None, doc("Its share of the requests; 0: none.")] = None


class ModelTable(Struct, frozen=True, kw_only=True):
    """A model by the name that clients use, and where it is served."""

    name: Annotated[Model, doc("Name; with * in it, a pattern for names that nothing else knows.")]
    aliases: Annotated[Several[Model], doc("Other names of it.")] = ()
    targets: Annotated[
        tuple[Target, ...],
        Meta(min_length=1),
        doc("Where it is served: by their weights, without weights the least busy one."),
    ]
    fallbacks: Annotated[
        tuple[Target, ...], doc("What is tried then, in this order, before the first byte of an answer.")
    ] = ()
    fallback_on: Annotated[
        Several[Literal["down", "busy", "timeout", "context"]],
        doc("Why another target is tried: nothing answers, 429/503/529, no first byte, prompt too long."),
    ] = ("down", "busy", "timeout")


class Limit(Struct, frozen=True, kw_only=True):
    """A rate limit: one of requests, tokens or concurrent."""

    UNITS: ClassVar[tuple[LimitUnit, ...]] = ("requests", "tokens", "concurrent")

    per: Annotated[
        Literal["key", "user", "organization", "end_user", "ip", "route", "gate"],
        doc("Who shares one count. end_user: whom a key that acts for others names, else the key's user."),
    ]
    requests: Annotated[Count | None, doc("Requests in a window.")] = None
    tokens: Annotated[Count | None, doc("Tokens, in and out, in a window.")] = None
    concurrent: Annotated[Count | None, doc("Requests at the same time; it has no window.")] = None
    window: Annotated[
        Literal["second", "minute", "hour", "day"] | Count | None,
        Meta(extra={UNIT: SECONDS}),
        doc("Length of the window; a number is seconds; without one, a minute."),
    ] = None
    strategy: Annotated[Literal["fixed", "moving"], doc("Fixed windows are cheap, moving ones even.")] = (
        "fixed"
    )
    routes: Annotated[
        Several[Text],
        doc("Names of the routes and plugins it holds for, or PLUGIN.GROUP of operations; none: all."),
    ] = ()
    exempt_keys: Annotated[
        Several[Count], doc("Ids of keys that it does not hold for, as `llmgate key list` shows them.")
    ] = ()
    listen: Annotated[
        Several[Address],
        doc("Of the plugins in `routes`, only what comes in at these addresses of theirs; none: at any."),
    ] = ()

    @property
    def unit(self) -> LimitUnit:
        """The one that is written."""
        return _written(self, self.UNITS)


class Quota(Struct, frozen=True, kw_only=True):
    """What each user, key or organization may spend that has no quota of its own in the store."""

    UNITS: ClassVar[tuple[QuotaUnit, ...]] = ("tokens", "requests", "money")

    per: Annotated[Literal["user", "key", "organization"], doc("Who spends.")]
    tokens: Annotated[Annotated[int, Meta(ge=0)] | None, doc("Tokens, in and out.")] = None
    requests: Annotated[Annotated[int, Meta(ge=0)] | None, doc("Requests.")] = None
    money: Annotated[Amount | None, doc("Money, by [prices.MODEL].")] = None
    window: Annotated[
        QuotaWindow | None,
        doc(
            "When it starts anew: none, day, month (UTC), or after a period such as 24h or 30d; without it, none."
        ),
    ] = None
    overdraft: Annotated[
        Amount, doc("By how much requests at the same time may pass it, in its own unit.")
    ] = 0.0
    upstream: Annotated[Name | None, doc("Counts this upstream only.")] = None
    model: Annotated[Model | None, doc("Counts this model only.")] = None

    @property
    def unit(self) -> QuotaUnit:
        """The one that is written."""
        return _written(self, self.UNITS)


class PluginTable(Struct, frozen=True, kw_only=True):
    """A plugin: enabled by having a table. All other keys are its own."""

    prefix: Annotated[Prefix, doc("Stands before all of its paths.")] = ""
    listen: Annotated[Address | None, doc("Address of its own; without one, the gate's.")] = None
    settings: Annotated[
        dict[str, Any], Meta(extra={REST: True}), doc("The plugin's own keys, as they were written.")
    ] = field(default_factory=dict)


class Config(Struct, frozen=True, kw_only=True):
    """All of gate.toml."""

    gate: Gate = Gate()
    metrics: Metrics = Metrics()
    store: Store = Store()
    ledger: Ledger = Ledger()
    limits_store: LimitsStore = LimitsStore()
    reconcile: Reconcile = Reconcile()
    sessions: Sessions = Sessions()
    passwords: Passwords = Passwords()
    mail: Mail = Mail()
    upstreams: Mapping[Name, Upstream] = field(default_factory=dict)
    prices: Mapping[Model, Price] = field(default_factory=dict)
    models: tuple[ModelTable, ...] = ()
    routes: tuple[Route, ...] = ()
    limits: tuple[Limit, ...] = ()
    quotas: tuple[Quota, ...] = ()
    plugins: Mapping[Name, PluginTable] = field(default_factory=dict)
