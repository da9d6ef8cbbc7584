"""The pages of this repository hold together: every link leads somewhere, and nothing leads to another's package."""

import re
import subprocess
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    if not name.startswith("tests/data/") and (ROOT / name).is_file()
)
"""The guides in tests/data are not ours."""
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z]+:")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def anchors(page: Path) -> frozenset[str]:
    """What a link can name within a page, as GitHub makes it of the headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return frozenset(
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in HEADING.findall(text)
    )


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file or folder of this repository and, where it says so, to a heading in it."""
    broken = []
    for link in LINK.findall(CODE.sub("", page.read_text())):
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if ELSEWHERE.match(link):
            continue
        if not (target.is_relative_to(ROOT) and target.exists()):
            broken.append(f"{link}: there is no such file")
        elif anchor and anchor not in anchors(target):
            broken.append(f"{link}: there is no such heading")
    assert not broken


@every_page
def test_no_page_names_the_machine_it_was_written_on(page: Path) -> None:
    assert re.findall(r"(?<![\w.~-])/(?:home|root|tmp|work|Users)/\S*", page.read_text()) == []


@every_page
def test_no_page_installs_what_another_has_called_llmgate(page: Path) -> None:
    """The name on the public index is somebody else's: llmgate comes from a checkout."""
    assert (
        re.findall(
            r"pip3? install [^\n`]*(?<![./\w-])llmgate(?:$|[\s\[`=<>'\"])", page.read_text(), re.MULTILINE
        )
        == []
    )


@pytest.mark.parametrize("folder", ["docs/guide", "docs/reference", "config"])
def test_every_page_and_file_is_in_the_index_of_its_folder(folder: str) -> None:
    """A page that nothing leads to is read by nobody: add it to the README.md next to it."""
    index = (ROOT / folder / "README.md").read_text()
    files = [path for path in (ROOT / folder).iterdir() if path.suffix in (".md", ".toml", ".yml", ".json")]
    missing = [path.name for path in files if path.name != "README.md" and f"({path.name})" not in index]
    assert missing == []
