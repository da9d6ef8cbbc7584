"""The locks in requirements/ hold what pyproject.toml asks for, by hash, and pyproject.toml asks for what is used."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
LOCKS = {
    "dev": ["dev", "demo", "cluster", "import", "private-ai", "stripe"],
    "demo": ["demo"],
    "gate": ["cluster", "import", "private-ai", "stripe"],
    "clients": ["clients"],
    "training": ["training"],
    "browser": ["browser"],
}
"""The lock files and the extras that each is for, as in the Makefile."""
PIN = re.compile(
    r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;]+)(?: ; [^\\]*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
    re.M,
)
MODULES = {
    "argon2-cffi": "argon2",
    "prometheus-client": "prometheus_client",
    "pyjwt": "jwt",
    "python-multipart": "python_multipart",
    "swagger-ui-bundle-v2": "swagger_ui_bundle",
    "typing-extensions": "typing_extensions",
}
"""What packages are imported as, where it is not their own name."""
WITHOUT_IMPORT = {"aiosqlite": "sqlite+aiosqlite"}
"""Packages that another one imports for us, and what makes it do so."""


def pins(name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for package, version, _ in PIN.findall((ROOT / "requirements" / f"{name}.txt").read_text()):
        found.setdefault(canonicalize_name(package), set()).add(version)
    return found


def asked(name: str) -> list[Requirement]:
    lines = [*PROJECT["dependencies"], *(line for extra in LOCKS[name] for line in EXTRAS[extra])]
    return list(map(Requirement, lines))


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_all_that_pyproject_asks_for(name: str) -> None:
    locked = pins(name)
    wrong = [
        str(requirement)
        for requirement in asked(name)
        if not any(
            requirement.specifier.contains(version)
            for version in locked.get(canonicalize_name(requirement.name), ())
        )
    ]
    assert wrong == [], f"requirements/{name}.txt and pyproject.toml disagree: run `make lock`"


@pytest.mark.parametrize("name", [*LOCKS, "model"])
def test_every_line_of_a_lock_is_a_version_with_hashes_and_names_no_registry(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    rest = PIN.sub("", text)
    assert all(not line or line.startswith("#") for line in rest.splitlines()), rest[:500]
    assert "://" not in text


def test_the_locks_agree_with_each_other() -> None:
    """They are installed into one environment."""
    everything = pins("dev")
    for name in LOCKS:
        differing = {
            package: versions
            for package, versions in pins(name).items()
            if package in everything and versions != everything[package]
        }
        assert differing == {}, name


def test_what_the_gate_depends_on_is_imported_by_it() -> None:
    """Nothing is installed that nobody uses."""
    sources = [path.read_text() for folder in ("src", "plugins") for path in (ROOT / folder).rglob("*.py")]
    names = [canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]]
    for name in names:
        module = MODULES.get(name, name.replace("-", "_"))
        pattern = re.compile(rf"^\s*(?:from|import) {module}\b", re.M)
        marker = WITHOUT_IMPORT.get(name)
        used = any(pattern.search(text) or (marker and marker in text) for text in sources)
        assert used, f"{name} is not used: take it out of pyproject.toml"


def test_messages_name_extras_that_there_are() -> None:
    calls = re.compile(r"extra_remedy\(['\"]([a-z-]+)['\"]\)|pip install '\.\[([a-z-]+)\]'")
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    named = {match[1] or match[2] for path in sources for match in calls.finditer(path.read_text())}
    assert named >= {"cluster", "training", "evaluation"}
    assert named <= EXTRAS.keys()
