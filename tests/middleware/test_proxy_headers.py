"""Whom a request is from, where proxies stand in front."""

import ipaddress

import pytest
from playbook import Answers, play

from llmgate.middleware import ProxyHeaders

NETWORKS = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("client", "hops", "believed"),
    [
        ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["203.0.113.9, 192.0.2.7", "10.0.0.2"], "192.0.2.7"),
        ("::ffff:10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["192.0.2.7, nonsense"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.3:53123"], "198.51.100.3"),
        ("10.0.0.1", ["[2001:db8:7::1]:443"], "2001:db8:7::1"),
        ("10.0.0.1", ["[2001:db8:7::1]"], "2001:db8:7::1"),
        ("10.0.0.1", ["203.0.113.9, [fd00::2]:443, 10.0.0.9:1"], "203.0.113.9"),
        ("10.0.0.1", ["999.0.0.1:1"], "10.0.0.1"),
    ],
)
async def test_a_client_is_who_the_last_trusted_proxy_says(
    client: str, hops: list[str], believed: str
) -> None:
    """What stands further left was written by somebody we do not trust."""
    app = Answers()
    headers = [(b"x-forwarded-for", hop.encode()) for hop in hops]
    await play(ProxyHeaders(app, trusted=NETWORKS), headers=headers, client=(client, 1))
    assert app.scopes[0]["client"][0] == believed


async def test_without_trusted_proxies_nobody_is_believed() -> None:
    app = Answers()
    layer = ProxyHeaders(app, trusted=[])
    await play(layer, headers={"x-forwarded-for": "10.0.0.9"}, client=("10.0.0.1", 1))
    assert app.scopes[0]["client"] == ("10.0.0.1", 1)


@pytest.mark.parametrize(("trusted", "believed"), [(True, ("192.0.2.7", 0)), (False, None)])
async def test_a_proxy_behind_a_unix_socket_is_believed_if_the_operator_says_so(
    trusted: bool, believed: tuple[str, int] | None
) -> None:
    """It has no address to be known by."""
    app = Answers()
    layer = ProxyHeaders(app, trusted=[], unix_sockets=trusted)
    await play(layer, headers={"x-forwarded-for": "192.0.2.7"}, client=None)
    assert app.scopes[0]["client"] == believed
