"""The values that are written as strings: what is taken, what is refused, and with which remedy."""

import ipaddress
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.config.addresses import Address, Network
from llmgate.config.annotations import kind_of
from llmgate.config.paths import Operation
from llmgate.config.secrets import Secret, SecretUrl, Sources
from llmgate.config.values import (
    PARSERS,
    BaseUrl,
    DialectName,
    LimitsUrl,
    Model,
    Name,
    Prefix,
    ReplicaUrl,
    StoreUrl,
    Text,
    UrlPath,
)

SOURCES = Sources(Path("/etc/llmgate/gate.toml"), {"URL": "postgresql://gate:geheim@db/gate"})


def parse(kind: Any, text: str) -> Any:
    parser = kind_of(kind).parser
    assert parser is not None
    return parser.parse(text, SOURCES)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Address, "127.0.0.1:8000", Address("127.0.0.1", 8000)),
        (Address, "localhost:0", Address("localhost", 0)),
        (Address, "[::1]:65535", Address("::1", 65_535)),
        (Address, "unix:gate.sock", Address(path=Path("/etc/llmgate/gate.sock"))),
        (Address, "unix:/run/gate.sock", Address(path=Path("/run/gate.sock"))),
        (BaseUrl, "http://gpu_1:8001/", "http://gpu_1:8001"),
        (BaseUrl, "HTTPS://[fd00::1]/llm/", "https://[fd00::1]/llm"),
        (ReplicaUrl, "http://gpu_1:8001/", "http://gpu_1:8001"),
        (ReplicaUrl, "app:", "app:"),
        (StoreUrl, "sqlite:///gate.db", SecretUrl("sqlite:////etc/llmgate/gate.db")),
        (StoreUrl, "sqlite:////var/gate.db", SecretUrl("sqlite:////var/gate.db")),
        (StoreUrl, "env:URL", SecretUrl("postgresql://gate:geheim@db/gate")),
        (StoreUrl, "postgresql:///gate?host=/run", SecretUrl("postgresql:///gate?host=/run")),
        (LimitsUrl, "redis://cache", SecretUrl("redis://cache")),
        (Network, "10.0.0.0/8", ipaddress.ip_network("10.0.0.0/8")),
        (Network, "::1", ipaddress.ip_network("::1/128")),
        (UrlPath, "/", "/"),
        (UrlPath, "/v1/a.b~c", "/v1/a.b~c"),
        (Prefix, "", ""),
        (Prefix, "/api", "/api"),
        (Operation, "*", Operation("*", "*")),
        (Operation, "GET /models/{id:path}", Operation("GET", "/models/{id:path}")),
        (Operation, "POST /responses/{id}/cancel", Operation("POST", "/responses/{id}/cancel")),
        (Name, "gpu-2_b", "gpu-2_b"),
        (Model, "Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        (Text, "été", "été"),
        (DialectName, "llama_server", "llama_server"),
        (Path, "trails/today", Path("/etc/llmgate/trails/today")),
        (Secret, "plain", Secret("plain")),
    ],
)
def test_a_good_value_is_taken(kind: Any, text: str, value: object) -> None:
    """Relative paths start in the folder of gate.toml."""
    assert parse(kind, text) == value


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (Address, "127.0.0.1", ""),
        (Address, "8000", ""),
        (Address, ":8000", ""),
        (Address, "::1:8000", ""),
        (Address, "127.0.0.1:8000 ", ""),
        (Address, "127.0.0.1:八", ""),
        (Address, "unix:", ""),
        (Address, "http://127.0.0.1:8000", "write the address alone"),
        (Address, "127.0.0.1:65536", "port 65536 is over 65535"),
        (Address, "999.0.0.1:80", "Octet 999"),
        (Address, "[::g]:80", ""),
        (Address, "a..b:80", "not a host name"),
        (Address, "unix:/" + "x" * 103, "over 103 bytes"),
        (BaseUrl, "127.0.0.1:8001", "no http:// or https://"),
        (BaseUrl, "app:", "no http:// or https://"),
        (ReplicaUrl, "app:vllm", "no http:// or https://"),
        (BaseUrl, "ftp://host", "no http:// or https://"),
        (BaseUrl, "http://me:geheim@host", "put them into api_key"),
        (BaseUrl, "http://host/?a=1", "a query or a fragment"),
        (BaseUrl, "http://host#", "a query or a fragment"),
        (BaseUrl, "http://", "no valid host and port"),
        (BaseUrl, "http://host:", "no valid host and port"),
        (BaseUrl, "http://host:0", "no valid host and port"),
        (BaseUrl, "http://host:65536", "no valid host and port"),
        (BaseUrl, "http://host/a/../b", "servers may read differently"),
        (BaseUrl, "http://host/%2e", "servers may read differently"),
        (BaseUrl, "http://ho st", "no white space"),
        (BaseUrl, "http://host\n", "no white space"),
        (BaseUrl, "http://host\\@other", "backslashes"),
        (BaseUrl, "http://[::1", "not a URL"),
        (StoreUrl, "mysql://me:geheim@db/gate", ""),
        (StoreUrl, "sqlite://gate.db", "no file"),
        (StoreUrl, "sqlite:///", "no file"),
        (StoreUrl, "sqlite:///:memory:", "forgets the ledger"),
        (StoreUrl, "sqlite:///gate.db?mode=ro", "takes no options"),
        (StoreUrl, "postgres://db/gate", "postgresql:// alone"),
        (StoreUrl, "postgresql+asyncpg://db/gate", "postgresql:// alone"),
        (StoreUrl, "postgresql://me:geheim@db", "no database"),
        (StoreUrl, "postgresql://me:ge/heim@db/gate", "no valid host and port"),
        (LimitsUrl, "http://cache", ""),
        (LimitsUrl, "redis://:geheim@", "no valid host and port"),
        (Network, "10.0.0.1/8", "write 10.0.0.0/8"),
        (Network, "example.org", ""),
        (UrlPath, "v1", ""),
        (UrlPath, "/v1/", ""),
        (UrlPath, "//v1", ""),
        (UrlPath, "/v1/../admin", ""),
        (UrlPath, "/v1?x", ""),
        (UrlPath, "/%76", ""),
        (Prefix, "/", "leave the key out"),
        (Operation, "get /models", ""),
        (Operation, "GET models", ""),
        (Operation, "GET ", ""),
        (Operation, "GET /{id:path}/more", ""),
        (Operation, "GET /a/../b", ""),
        (Name, "gpt-4.1", ""),
        (Name, "x" * 65, ""),
        (Model, "", ""),
        (Text, "a\nb", ""),
        (DialectName, "vlm", ""),
        (Path, "a\0b", ""),
    ],
)
def test_a_bad_value_is_refused_with_the_remedy(kind: Any, text: str, reason: str) -> None:
    """With no reason of its own, the problem is what was expected and what was found."""
    with pytest.raises(ValueError, match=re.escape(reason) if reason else "^$") as caught:
        parse(kind, text)
    assert "geheim" not in str(caught.value)


KINDS = [*PARSERS, Name, Model, Text, UrlPath, Prefix, DialectName, BaseUrl, ReplicaUrl, StoreUrl, LimitsUrl]


@given(st.sampled_from(KINDS), st.text(max_size=40))
def test_any_text_is_a_value_or_a_value_error(kind: Any, text: str) -> None:
    """No other exception leaves a parser."""
    try:
        parse(kind, text)
    except ValueError as error:
        assert str(error).isprintable()


@given(st.sampled_from([Address, BaseUrl, Network, UrlPath, Operation, StoreUrl]), st.data())
def test_a_value_written_out_reads_as_itself(kind: Any, data: st.DataObject) -> None:
    """Reading is idempotent: what was read, written as a string, reads the same."""
    good = {
        Address: ["[fd00::1]:80", "unix:/a/b", "gate:1"],
        BaseUrl: ["http://A/", "https://b:1/c/"],
        Network: ["10.0.0.0/8", "::/0"],
        UrlPath: ["/", "/a"],
        Operation: ["*", "GET /a/{b}"],
        StoreUrl: ["sqlite:////a", "postgresql://h/d"],
    }
    value = parse(kind, data.draw(st.sampled_from(good[kind])))
    assert parse(kind, value.reveal() if isinstance(value, Secret) else str(value)) == value
