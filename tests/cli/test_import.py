"""`llmgate import litellm`."""

from pathlib import Path

import pytest

from cli.conftest import Cli
from llmgate.config import load

pytest.importorskip("yaml", reason="PyYAML is not installed (the extra `import`)")

CONFIG = """
model_list:
  - model_name: chat
    litellm_params:
      model: hosted_vllm/qwen
      api_base: http://gpu:8000/v1
litellm_settings:
  cache: true
"""


@pytest.fixture
def source(folder: Path) -> Path:
    (folder / "config.yaml").write_text(CONFIG)
    return folder / "config.yaml"


def test_a_gate_toml_goes_to_stdout_and_what_it_lacks_to_stderr(unmigrated: Cli, source: Path) -> None:
    result = unmigrated("import", "litellm", str(source))
    (source.parent / "new.toml").write_text(result.stdout)
    assert load(source.parent / "new.toml").upstreams["gpu"].urls == ("http://gpu:8000",)
    assert "not taken over: litellm_settings.cache: answers are not cached" in result.stderr


def test_a_file_that_is_there_is_not_overwritten_unasked(unmigrated: Cli, source: Path) -> None:
    target = source.parent / "new.toml"
    unmigrated("import", "litellm", str(source), "--to", str(target))
    target.write_text("# mine")
    refused = unmigrated("import", "litellm", str(source), "--to", str(target), code=2)
    assert "is there already: name another file, or --force" in refused.stderr
    assert target.read_text() == "# mine"
    unmigrated("import", "litellm", str(source), "--to", str(target), "--force")
    assert "http://gpu:8000" in target.read_text()


@pytest.mark.parametrize(
    ("text", "problem"), [("a: [", "config.yaml: "), ("a: 1", "model_list: expected a list of models")]
)
def test_what_is_no_configuration_is_a_problem_without_a_traceback(
    unmigrated: Cli, source: Path, text: str, problem: str
) -> None:
    source.write_text(text)
    assert problem in unmigrated("import", "litellm", str(source), code=2).stderr
