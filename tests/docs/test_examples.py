"""What the pages show can be written so: commands, pieces of gate.toml, and names of metrics."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from llmgate.cli import main
from llmgate.config import from_document
from llmgate.errors import ConfigError
from llmgate.observability.metrics.families import FAMILIES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
METRIC = re.compile(r"llmgate_[a-z_]+?(?=_(?:bucket|count|sum|total)\b|\b)")

OF_EXAMPLES = {
    name
    for file in (ROOT / "examples").glob("*/pyproject.toml")
    for name in tomllib.loads(file.read_text())["project"]["entry-points"].get("llmgate.commands", {})
}
"""Commands of plugins that nobody has installed here; tests/docs/test_plugins.py runs them."""

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@every_page
def test_every_command_that_a_page_shows_is_one(page: Path) -> None:
    """With these options and arguments; nothing is run."""
    for _, block in FENCE.findall(page.read_text()):
        for line in block.splitlines():
            if re.match(r"\$ (\.venv/bin/)?llmgate ", line):
                _parse(shlex.split(line.partition("llmgate ")[2], comments=True))


def _parse(words: list[str]) -> None:
    if words[0] == "--config":
        del words[:2]
    command: click.Command | None = main
    while isinstance(command, click.Group):
        name = words.pop(0)
        if name in OF_EXAMPLES:
            return
        command = command.get_command(click.Context(command), name)
        assert command is not None, f"there is no command {name}"
    assert command is not None
    command.make_context(command.name, words)


@every_page
def test_every_piece_of_gate_toml_that_a_page_shows_can_be_written_so(page: Path) -> None:
    """Its keys exist and take these values; that a piece names what is not in it is no mistake."""
    for language, block in FENCE.findall(page.read_text()):
        document = tomllib.loads(block) if language == "toml" else {}
        if "project" in document:
            continue  # the example's pyproject.toml
        try:
            from_document(document, file=ROOT / "gate.toml")
        except ConfigError as error:
            mistakes = [found for found in error.problems if "unknown key" in found or "expected" in found]
            assert mistakes == []


def test_the_readme_shows_gate_toml_as_it_is() -> None:
    assert (ROOT / "gate.toml").read_text() in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("file", ["docs/guide/monitoring.md", "config/grafana/llmgate.json"])
def test_every_metric_that_is_named_is_measured(file: str) -> None:
    named = set(METRIC.findall((ROOT / file).read_text()))
    assert named
    assert named <= set(FAMILIES)


def test_the_dashboard_can_be_imported() -> None:
    """As far as that can be told from here: it is JSON, and each panel has queries and a place of its own."""
    dashboard = json.loads((ROOT / "config" / "grafana" / "llmgate.json").read_text())
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places) > 0
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
