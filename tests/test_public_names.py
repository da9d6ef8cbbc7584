"""`from llmgate import ...`: the names that programs may rely on."""

import subprocess
import sys

import pytest

import llmgate

NAMES = [
    "Accounting",
    "Authentication",
    "BeginExchange",
    "Errors",
    "Exchange",
    "Gate",
    "Limit",
    "Metrics",
    "Models",
    "Principal",
    "ProxyHeaders",
    "Quota",
    "RateLimit",
    "Relay",
    "RequestId",
    "create_app",
    "exchange_of",
]


def test_these_are_all_and_each_has_its_own_name() -> None:
    """One that is renamed or taken away fails here, and has to stand in the CHANGELOG."""
    assert sorted(llmgate.__all__) == sorted(NAMES)
    assert {name: getattr(llmgate, name).__name__ for name in NAMES} == {name: name for name in NAMES}
    assert set(dir(llmgate)) >= set(NAMES)


def test_another_name_is_missing_as_from_any_module() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Onion'"):
        llmgate.Onion  # noqa: B018


def test_importing_llmgate_imports_nothing_but_its_version() -> None:
    """A command that needs two modules does not wait for two hundred."""
    code = "import llmgate, sys; print([name for name in sys.modules if name.startswith(('llmgate.', 'starlette'))])"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "['llmgate.version']"
