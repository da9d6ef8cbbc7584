"""What plugins' settings say that is good for trying and not for strangers."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from llmgate.config import from_document, load
from llmgate.plugin import warnings
from llmgate.plugin.warnings import told_at_start, warnings_of

PUBLIC, HERE = "0.0.0.0:8000", "127.0.0.1:8000"


class Settings(msgspec.Struct, frozen=True):
    """Of a plugin that lets people register."""

    registration: str = "open"
    gift: int = 0

    def warnings(self, public: bool) -> Iterator[tuple[str, str]]:
        if public and self.gift:
            yield "gift", "every stranger gets it"


@pytest.fixture(autouse=True)
def _plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "load_plugin", lambda _: SimpleNamespace(settings=Settings))


def warned(
    listen: str, plugin: dict[str, Any] | None = None, *, gate: dict[str, Any] | None = None, **tables: Any
) -> list[str]:
    document = {
        "gate": {"listen": [listen], **(gate or {})},
        "upstreams": {"u": {"urls": ["http://a"]}},
        "routes": [{"path": "/v1", "upstream": "u"}],
        "quotas": [{"per": "user", "tokens": 1, "window": "day"}],
        "limits": [{"per": "ip", "requests": 1}],
        "plugins": {"toy": plugin or {}},
        **tables,
    }
    return warnings_of(from_document(document, file=Path("gate.toml"), environ={}))


def test_with_quotas_and_limits_nothing_is_to_be_said() -> None:
    assert warned(PUBLIC) == []


def test_what_the_plugin_says_has_its_place_and_counts_where_strangers_come() -> None:
    assert warned(PUBLIC, {"gift": 1}) == ["plugins.toy.gift: every stranger gets it"]
    assert warned(HERE, {"gift": 1}) == []


@pytest.mark.parametrize(
    ("listen", "gate"),
    [
        (HERE, {"trusted_proxies": ["127.0.0.1"]}),
        (HERE, {"hosts": ["gate.example"]}),
        (HERE, {"hosts": ["*"]}),
        ("unix:gate.sock", {}),
    ],
)
def test_strangers_come_through_a_proxy_to_a_loopback_address_too(listen: str, gate: dict[str, Any]) -> None:
    assert warned(listen, {"gift": 1}, gate=gate) == ["plugins.toy.gift: every stranger gets it"]


def test_names_of_this_machine_bring_no_strangers() -> None:
    assert warned(HERE, {"gift": 1}, gate={"hosts": ["gate", "*.localhost"]}) == []


def test_accounts_without_end_by_one_stranger() -> None:
    """A limit per user bounds nothing: a new account has it anew."""
    [warning] = warned(PUBLIC, limits=[{"per": "user", "requests": 1}])
    assert warning.startswith("plugins.toy.registration: nothing bounds how many accounts one stranger makes")
    assert warned(PUBLIC, limits=[{"per": "gate", "requests": 1, "routes": ["toy"]}]) == []
    assert warned(HERE, limits=[]) == []


@pytest.mark.parametrize("quotas", [[], [{"per": "user", "tokens": 1, "window": "day", "model": "small"}]])
def test_a_route_that_who_registers_may_use_without_end(quotas: list[dict[str, Any]]) -> None:
    [warning] = warned(HERE, quotas=quotas)
    assert warning.startswith("routes[0]: anybody may register (toy), and no quota bounds")
    assert warned(HERE, {"registration": "closed"}, quotas=quotas) == []
    routes = [{"path": "/v1", "upstream": "u", "roles": ["admin"]}]
    assert warned(HERE, quotas=quotas, routes=routes) == []


def test_whoever_serves_is_told_with_lines(tmp_path: Path) -> None:
    lines = [
        *("[gate]", f'listen = ["{HERE}"]', "[upstreams.u]", 'urls = ["http://a"]'),
        *("[[routes]]", 'path = "/v1"', 'upstream = "u"', "[plugins.toy]"),
    ]
    file = tmp_path / "gate.toml"
    file.write_text("\n".join(lines))
    own, of_plugins = told_at_start(file, load(file), ["gate.listen: mind"])
    assert own == f"{file}:2: gate.listen: mind"
    assert of_plugins.startswith(f"{file}:5: routes[0]: anybody may register")
