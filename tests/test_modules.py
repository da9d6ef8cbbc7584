"""Every module has a test file of its name: whoever changes one knows where its tests are, and that there are some."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
CORE = ROOT / "src" / "llmgate"
PLUGINS = ROOT / "plugins"
REVISIONS = {"versions", "migrations"}
"""Folders of Alembic revisions, which tests/store/test_migrations.py and the plugins' test_tables.py run."""


def expected(module: Path) -> Path:
    """src/llmgate/A/b.py -> tests/A/test_b.py; plugins/llmgate_X/A/b.py -> tests/plugins/X/A/test_b.py."""
    if module.is_relative_to(CORE):
        place = module.relative_to(CORE)
    else:
        plugin, *inside = module.relative_to(PLUGINS).parts
        place = Path("plugins", plugin.removeprefix("llmgate_"), *inside)
    return TESTS / place.with_name(f"test_{module.name}")


def modules(folder: Path) -> list[Path]:
    found = (path for path in sorted(folder.rglob("*.py")) if not path.name.startswith("__"))
    return [path for path in found if path.parent.name not in REVISIONS or path.name == "apply.py"]


COMPLETE = [
    CORE,
    *(
        PLUGINS / f"llmgate_{name}"
        for name in ("accounts", "deployments", "leaky_tokens", "platform", "private_ai")
    ),
]


@pytest.mark.parametrize("folder", COMPLETE, ids=lambda folder: folder.name)
def test_a_module_has_a_test_file_of_its_name(folder: Path) -> None:
    missing = [path for path in map(expected, modules(folder)) if not path.exists()]
    assert [str(path.relative_to(ROOT)) for path in missing] == []


def test_a_test_file_has_tests() -> None:
    """An empty one would keep the rule and say nothing."""
    files = [path for folder in (CORE, PLUGINS) for path in map(expected, modules(folder)) if path.exists()]
    assert [str(path.relative_to(ROOT)) for path in files if "def test_" not in path.read_text()] == []
