"""The limits of a connection: from gate.toml, from uvicorn's options, from what the system allows."""

import sys
from ipaddress import ip_network

import pytest
import uvicorn

from llmgate.config import Gate
from llmgate.server.limits import ConnectionLimits, limits_of, servable

from .wire import Steps


def test_the_file_decides_as_far_as_the_system_lets_it() -> None:
    gate = Gate(max_connections=1000, keep_alive=620.0, body_timeout=60.0, send_timeout=5.0, min_rate=1)
    limits = ConnectionLimits.of_gate(gate, descriptors=1_000_000)
    assert (limits.max_connections, limits.max_per_address) == (1000, 500)
    assert (limits.keep_alive, limits.body_timeout, limits.send_timeout, limits.min_rate) == (620, 60, 5, 1)
    few = ConnectionLimits.of_gate(gate, descriptors=264, addresses=2)
    assert (servable(264), few.max_connections, few.max_per_address) == (100, 50, 25)
    assert ConnectionLimits.of_gate(Gate(max_connections_per_address=7)).max_per_address == 7


def test_under_a_stock_uvicorn_its_options_decide() -> None:
    limits = limits_of(uvicorn.Config(Steps(), timeout_keep_alive=7, limit_concurrency=3))
    assert (limits.keep_alive, limits.max_connections) == (7, 3)
    assert limits_of(uvicorn.Config(Steps())).max_connections == sys.maxsize


@pytest.mark.parametrize(
    ("host", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("127.0.0.1", None),
        ("::1", None),
        ("10.1.2.3", None),
        ("::ffff:10.1.2.3", None),
        ("/run/gate.sock", None),
    ],
)
def test_a_client_is_counted_under_its_address_unless_it_is_a_proxy(
    host: str, counted_as: str | None
) -> None:
    assert ConnectionLimits(exempt=(ip_network("10.0.0.0/8"),)).bounded(host) == counted_as
