"""Addresses to listen at; test_values.py has what can be written for each."""

from pathlib import Path

import pytest

from llmgate.config.addresses import (
    LIMITS_SCHEMES,
    Address,
    parse_address,
    parse_base_url,
    parse_limits_url,
    parse_network,
    parse_origin,
    parse_store_url,
)
from llmgate.config.secrets import Sources

HERE = Sources(Path("/etc/llmgate/gate.toml"), {"CACHE": "redis://cache:6379"})


@pytest.mark.parametrize("text", ["127.0.0.1:8000", "[::1]:80", "gpu-1.example.com:1", "unix:/run/gate.sock"])
def test_an_address_is_told_as_it_is_written(text: str) -> None:
    assert str(parse_address(text, HERE)) == text


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True), ("127.9.9.9:1", True), ("[::1]:1", True), ("localhost:1", True), ("LOCALHOST:1", True),
        ("0.0.0.0:1", False), ("[::]:1", False), ("10.0.0.1:1", False), ("gate.example.com:1", False),
    ],
)  # fmt: skip
def test_loopback_is_what_this_machine_alone_reaches(text: str, loopback: bool) -> None:
    assert parse_address(text, HERE).is_loopback is loopback


def test_no_page_of_a_browser_reaches_a_socket_file() -> None:
    assert not Address(path=Path("/run/gate.sock")).is_loopback


def test_a_socket_whose_path_the_system_would_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="over 103 bytes: move the socket up"):
        parse_address("unix:" + "x" * 104, HERE)


def test_a_network_with_bits_beyond_its_prefix_names_the_one_that_is_meant() -> None:
    with pytest.raises(ValueError, match=r"write 10\.0\.0\.0/8"):
        parse_network("10.1.2.3/8", HERE)


def test_credentials_do_not_stand_in_a_backends_url() -> None:
    with pytest.raises(ValueError, match="api_key"):
        parse_base_url("http://user:geheim@gpu", HERE)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("HTTPS://Chat.Example.com:443", "https://chat.example.com"),
        ("http://a:80", "http://a"),
        ("http://a:443", "http://a:443"),
    ],
)
def test_an_origin_is_as_browsers_send_it(text: str, origin: str) -> None:
    assert parse_origin(text, HERE) == origin


def test_a_relative_file_is_beside_gate_toml() -> None:
    assert parse_store_url("sqlite:///gate.db", HERE).reveal() == "sqlite:////etc/llmgate/gate.db"


@pytest.mark.parametrize("scheme", LIMITS_SCHEMES)
def test_any_storage_of_the_limits_library_may_be_named(scheme: str) -> None:
    assert parse_limits_url(f"{scheme}://cache:1", HERE).scheme == scheme


def test_a_url_may_be_named_by_the_environment() -> None:
    assert parse_limits_url("env:CACHE", HERE).reveal() == "redis://cache:6379"
