"""Who may know whom: the layers of the house, held by its imports, those for type checkers alone included."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "src" / "llmgate"
PLUGINS = ROOT / "plugins"
EXAMPLES = ROOT / "examples"

LAYERS = (
    {"__main__"},
    {"cli", "asgi"},
    {"server", "tools"},
    {"gate"},
    {"plugin"},
    {"middleware"},
    {"observability"},
    {"proxy", "ratelimit"},
    {"identity"},
    {"exchange"},
    {"ledger"},
    {"config", "store", "usage"},
    {"backends", "permissions"},
    {"background", "errors", "version", "words"},
)
"""From the top down: each room knows those below it, and none beside it or above. No exemptions."""

OFFERED = ("llmgate", "plugin", "api"), ("llmgate", "plugin", "kit")
"""What plugins may import of llmgate: the names of `api`, and the modules of `kit`."""

Import = tuple[str, ...]


def _imports(file: Path, root: Path) -> Iterator[Import]:
    """Every import of `file`, absolute and split at its dots, with the imported name last."""
    package = file.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = tuple(node.module.split(".")) if node.module else ()
            yield from ((*base, *module, alias.name) for alias in node.names)


def _core_imports() -> Iterator[tuple[str, str, str]]:
    """For each import inside of llmgate: the file, its part of the house, and the part that it imports."""
    for file in sorted(CORE.rglob("*.py")):
        path = file.relative_to(CORE)
        part = path.parts[0].removesuffix(".py")
        for imported in _imports(file, CORE.parent):
            if imported[0] == "llmgate" and len(imported) > 1 and not imported[1].startswith("__"):
                yield str(path), part, imported[1]


def test_every_part_of_the_core_has_its_layer() -> None:
    """A new part is put into LAYERS by whoever adds it, once: that is when its place is thought about."""
    parts = {path.stem for path in CORE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    layered = [part for layer in LAYERS for part in layer]
    assert sorted(layered) == sorted(parts - {"__init__"})


def test_imports_only_go_down() -> None:
    """cli -> server -> gate -> plugin -> middleware, proxy -> identity, ledger -> usage, store, config -> errors."""
    depth = {part: number for number, layer in enumerate(LAYERS) for part in layer}
    wrong = [
        f"{file} imports {imported}"
        for file, part, imported in _core_imports()
        if part in depth and depth[imported] <= depth[part] and imported != part
    ]
    assert wrong == []


def test_the_drawing_of_the_house_is_the_one_that_is_built() -> None:
    """docs/guide/house.md shows the rooms in the order of LAYERS."""
    text = (ROOT / "docs" / "guide" / "house.md").read_text()
    drawing = text.split("```\n")[1].splitlines()
    rooms = [set(re.split(r" {3,}", line)[0].split("  ")) for line in drawing]
    assert rooms == [layer for layer in LAYERS if layer != {"__main__"}]


def test_middlewares_do_not_know_each_other() -> None:
    """What one has found out, the others read in the exchange."""
    folder = CORE / "middleware"
    siblings = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    wrong = [
        f"{file.stem} imports {imported[2]}"
        for file in folder.glob("*.py")
        if file.stem in siblings
        for imported in _imports(file, CORE.parent)
        if imported[:2] == ("llmgate", "middleware") and imported[2] in siblings - {file.stem}
    ]
    assert wrong == []


def test_the_core_imports_no_plugin() -> None:
    """It finds them by entry point, and only those that gate.toml names."""
    plugins = {folder.name for folder in PLUGINS.iterdir() if folder.is_dir()}
    wrong = [
        f"{file.relative_to(CORE)} imports {imported[0]}"
        for file in CORE.rglob("*.py")
        for imported in _imports(file, CORE.parent)
        if imported[0] in plugins
    ]
    assert wrong == []


@pytest.mark.parametrize("plugin", sorted(path.name for path in PLUGINS.iterdir() if path.is_dir()))
def test_a_plugin_imports_the_public_api_and_no_other_plugin(plugin: str) -> None:
    """Nothing else of llmgate, whatever it is needed for, and none of its siblings."""
    siblings = {folder.name for folder in PLUGINS.iterdir()} - {plugin}
    assert [*_forbidden(PLUGINS / plugin, PLUGINS, siblings)] == []


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir()))
def test_an_example_imports_the_public_api_alone(example: str) -> None:
    """It shows what a plugin outside of this repository can do."""
    assert [*_forbidden(EXAMPLES / example, EXAMPLES, set())] == []


def test_the_kit_is_written_on_the_public_api() -> None:
    """Whatever the kit does, a plugin can do: it knows the api and itself, and no room of the house."""
    kit = CORE / "plugin" / "kit"
    assert [*_forbidden(kit, CORE.parent, set())] == []


def _forbidden(folder: Path, root: Path, siblings: set[str]) -> Iterator[str]:
    for file in sorted(folder.rglob("*.py")):
        for imported in _imports(file, root):
            inside = imported[0] == "llmgate"
            if imported[0] in siblings or (inside and (imported[:3] not in OFFERED or _private(imported))):
                yield f"{file.relative_to(root)} imports {'.'.join(imported)}"


def _private(imported: Import) -> bool:
    return any(name.startswith("_") and not name.startswith("__") for name in imported)


def test_what_reads_and_counts_streams_does_no_input_or_output() -> None:
    """Bytes in, events out: so it can be tested at every cut, and used under any loop."""
    forbidden = {"asyncio", "socket", "httpx", "ssl", "threading", "time"}
    wrong = [
        f"{file.name} imports {imported[0]}"
        for file in (CORE / "usage").glob("*.py")
        for imported in _imports(file, CORE.parent)
        if imported[0] in forbidden
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "package", [CORE, *sorted(PLUGINS.glob("llmgate_*"))], ids=lambda package: package.name
)
def test_no_file_is_in_a_circle_of_imports(package: Path) -> None:
    """Imports for type checkers included: what two files know of each other belongs into a third."""
    files = {_name(file, package): file for file in sorted(package.rglob("*.py"))}
    knows: dict[str, set[str]] = {}
    for name, file in files.items():
        whole = [".".join(imported) for imported in _imports(file, package.parent)]
        modules = {each if each in files else each.rpartition(".")[0] for each in whole}
        knows[name] = (modules & files.keys()) - {name}
    circles = [name for name in knows if _reaches(knows, name, name)]
    assert circles == []


def _name(file: Path, package: Path) -> str:
    parts = file.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _reaches(knows: dict[str, set[str]], start: str, goal: str) -> bool:
    """Whether imports lead from `start`, over others, to `goal`."""
    seen, waiting = set[str](), [*knows[start]]
    while waiting:
        here = waiting.pop()
        if here == goal:
            return True
        if here not in seen:
            seen.add(here)
            waiting += knows[here]
    return False
