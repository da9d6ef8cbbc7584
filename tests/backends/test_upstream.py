"""What reading lists and counting tokens need of an upstream is what the proxy's upstreams have."""

from typing import Any

from llmgate.backends.upstream import Upstream
from llmgate.proxy import upstreams


def name_of(upstream: Upstream) -> tuple[str, str | None, dict[bytes, bytes]]:
    """As `backends` asks: by this protocol alone."""
    replica = upstream.any_ready()
    return upstream.name, None if replica is None else replica.origin.url, dict(upstream.own_headers())


def test_an_upstream_of_the_proxy_is_one() -> None:
    """Its first replica that takes requests, and the gate's own key."""
    engine: Any = object()
    made = upstreams.Upstream("vllm", ["http://a:1", "http://b:2"], engine=engine, api_key="sk-1")
    assert name_of(made) == ("vllm", "http://a:1", {b"authorization": b"Bearer sk-1"})
    made.replicas[0].take_out(late=False)
    assert name_of(made)[1] == "http://b:2"
