"""No route lets anybody change an engine, however the path is spelled."""

import pytest

from llmgate.proxy.engine_control import NAMES, controls_engine


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prefix", ["/", "/v1/", "//v1//", "/V1/"])
def test_paths_that_change_an_engine(prefix: str, name: str) -> None:
    assert controls_engine(f"{prefix}{name}".encode())
    assert controls_engine(f"{prefix}{name}/".encode())


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/load_lora_adapter?x=1",
        b"/v1/Load_LoRA_Adapter",
        b"/v1/load%5Flora%5fadapter",
        b"/%761/load_lora_adapter",
        b"/slots/0",
        b"/lora-adapters",
    ],
)
def test_however_they_are_spelled(path: bytes) -> None:
    assert controls_engine(path)


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/models",
        b"/v1/models/adapters",
        b"/v1/chat/completions",
        b"/v1/adapters-of-mine",
        b"/",
        b"",
        b"/tokenize",
    ],
)
def test_all_else_passes(path: bytes) -> None:
    assert not controls_engine(path)
