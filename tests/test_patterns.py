"""Patterns that are searched for: in linear time whatever a client writes.

`search` and its likes try again from every character. Where a pattern repeats without bound and something has to
follow, each try may run to the end of the text and fail there: as many steps as the square of its length. What is
matched from its beginning alone, or ends in its repetition, fails once.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import pytest

ROOT = Path(__file__).parents[1]
SEARCHES = frozenset({"search", "finditer", "findall", "sub", "subn", "split"})
LONG = 128
"""Repetitions up to so many are few tries more."""
LINEAR = MappingProxyType(
    {
        "llmgate.backends.form._BOUNDARIES": "nothing that it repeats begins with a b",
        "llmgate.backends.form._NAMES": "nothing that it repeats begins with an n",
        "llmgate.backends.form._QUOTED": "the parser takes heads of 4 kB",
        "llmgate.backends.json_body._STRING": "the text is JSON, in which every string ends",
        "llmgate.backends.request._charset": "nothing that it repeats begins with a semicolon",
        "llmgate.middleware.models._IN_PATH": "it begins with a slash, and repeats none",
        "llmgate.usage.stripping._LAST_MEMBER": "it begins with a brace, and repeats none",
        "llmgate.usage.text._STRING_MEMBER": "what it takes to the end of the text is a match",
    }
)
"""Patterns that look like it and are not, and why."""
WRITTEN_BY_OPERATORS = (
    "llmgate.config.",
    "llmgate.gate.router.",
    "llmgate.plugin.openapi.",
    "llmgate.tools.",
)
"""What these read is no client's."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in (ROOT / "src", ROOT / "plugins"):
        for path in sorted(folder.rglob("*.py")):
            name = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
            yield name, ast.parse(path.read_text())


def searched() -> Iterator[str]:
    """`module.NAME` of each compiled pattern at the top of a module that is searched for there."""
    for module, tree in modules():
        compiled = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and "re.compile(" in ast.unparse(node.value)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for name, value in compiled.items():
            text = ast.unparse(tree)
            verbs = set(re.findall(rf"\b{re.escape(name)}\.(\w+)", text)) | {
                verb for verb in SEARCHES if ast.unparse(value).endswith(f".{verb}")
            }
            if verbs & SEARCHES and not f"{module}.".startswith(WRITTEN_BY_OPERATORS):
                yield f"{module}.{name}"


def runs_on(parsed: object, *, follows: bool = False) -> bool:
    """Whether something has to follow a repetition without bound."""
    for operation, argument in reversed(list(parsed)):  # type: ignore[call-overload]
        name = str(operation)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, most, repeated = argument
            if (most > LONG and follows) or runs_on(repeated, follows=follows):
                return True
            follows = follows or least > 0
            continue
        for inner in _inside(name, argument):
            if runs_on(inner, follows=follows):
                return True
        follows = True
    return False


def _inside(name: str, argument: object) -> list[object]:
    if name == "SUBPATTERN":
        return [argument[-1]]  # type: ignore[index]
    if name == "ATOMIC_GROUP":
        return [argument]
    if name == "BRANCH":
        return list(argument[1])  # type: ignore[index]
    return [argument[1]] if name in ("ASSERT", "ASSERT_NOT") else []  # type: ignore[index]


PATTERNS = sorted(searched())


def test_the_searched_patterns_are_found() -> None:
    assert {"llmgate.proxy.relay.AMBIGUOUS", "llmgate.usage.stripping._LAST_MEMBER"} <= set(PATTERNS)
    assert set(LINEAR) <= set(PATTERNS)


@pytest.mark.parametrize("name", PATTERNS)
def test_what_is_searched_for_does_not_run_to_the_end_of_the_text_again_and_again(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute)
    pattern = found if isinstance(found, re.Pattern) else found.__self__
    parsed = re._parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)  # type: ignore[attr-defined]
    assert runs_on(parsed) == (name in LINEAR), pattern.pattern


@pytest.mark.parametrize(
    ("pattern", "square"),
    [
        (r"/responses/([^/]+)(?:/[^/]+)*/?$", True),
        (r"(?:^|/)messages(?:/batches(?:/.*)?)?/?$", True),
        (r"\d+x", True),
        (r"(?:a|b+)c", True),
        (r"/responses/([^/]+)", False),
        (r"a{0,40}b", False),
        (r"x|y+", False),
    ],
)
def test_the_rule_itself(pattern: str, square: bool) -> None:
    assert runs_on(re._parser.parse(pattern)) == square  # type: ignore[attr-defined]
