"""Numbers with units, as settings take them and as remedies name them."""

from pathlib import Path
from typing import Any

import pytest

from llmgate.config import from_document
from llmgate.config.units import BYTES, SECONDS, parse_quantity, remedy
from llmgate.errors import ConfigError

GATE: dict[str, Any] = {"upstreams": {"vllm": {"urls": ["http://a:1"]}}}


@pytest.mark.parametrize(
    ("text", "measure", "value"),
    [
        ("5s", SECONDS, 5),
        ("500ms", SECONDS, 0.5),
        ("1.5 min", SECONDS, 90),
        ("2h", SECONDS, 7200),
        ("1d", SECONDS, 86_400),
        ("16MB", BYTES, 16_000_000),
        ("16 MiB", BYTES, 16_777_216),
        ("64kB", BYTES, 64_000),
        ("5", SECONDS, None),
        ("5x", SECONDS, None),
        ("-5s", SECONDS, None),
        ("5MB", SECONDS, None),
        ("5s", BYTES, None),
        ("1e3s", SECONDS, None),
        ("", SECONDS, None),
    ],
)
def test_a_quantity_is_a_number_and_a_unit_of_what_is_measured(
    text: str, measure: str, value: float | None
) -> None:
    assert parse_quantity(text, measure) == value


def test_settings_in_seconds_and_bytes_take_them() -> None:
    config = from_document(
        {
            "gate": {"max_body": "16MiB", "shutdown_grace": "2min"},
            "upstreams": {
                "vllm": {"urls": ["http://a:1"], "first_byte_timeout": "10m", "health": {"interval": "500ms"}}
            },
            "limits": [{"per": "key", "requests": 1, "window": "30s"}],
        },
        file=Path("gate.toml"),
    )
    assert (config.gate.max_body, config.gate.shutdown_grace) == (16_777_216, 120)
    assert config.upstreams["vllm"].first_byte_timeout == 600
    assert config.upstreams["vllm"].health.interval == 0.5
    assert config.limits[0].window == 30


@pytest.mark.parametrize("text", ["0s", "400d", "5"])
def test_their_bounds_hold_all_the_same(text: str) -> None:
    with pytest.raises(ConfigError, match=r"upstreams.vllm.idle_timeout: expected a number \(over 0"):
        from_document(
            {"upstreams": {"vllm": {"urls": ["http://a:1"], "idle_timeout": text}}}, file=Path("gate.toml")
        )


@pytest.mark.parametrize(
    ("text", "written"),
    [("8k", "8000"), ("32K", "32_000"), ("1.5M", "1_500_000"), ("5s", "5"), ("16MB", "16_000_000")],
)
def test_a_plain_number_says_what_to_write(text: str, written: str) -> None:
    assert remedy(text) == f": write {written}"
    document = {"upstreams": {"vllm": {"urls": ["http://a:1"], "context_length": text}}}
    with pytest.raises(ConfigError, match=f'context_length: .*found "{text}": write {written}$'):
        from_document(document, file=Path("gate.toml"))


def test_what_is_no_number_has_no_remedy() -> None:
    assert remedy("many") == remedy("8 parsecs") == ""
