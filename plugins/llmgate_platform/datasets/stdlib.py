"""A coding data set made of the user's own Python: documented functions of its standard library (PSF-2.0).

    python stdlib.py FOLDER

writes FOLDER/train.jsonl and FOLDER/test.jsonl: what stands before a function's body is the prompt, the body the
completion. The parts are split by module, so that nothing of a held-out module was ever trained on. A process of
its own, with nothing of llmgate in it: parsing all modules takes some seconds of CPU.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

SKIPPED = {
    "__pycache__", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "dist-packages",
    "test", "tests", "turtledemo",
}  # fmt: skip
MAX_CHARS = 700
"""Characters that prompt and completion may have together: a small model learns from such in reasonable time."""

Example = dict[str, str]


def examples(root: Path) -> tuple[list[Example], list[Example]]:
    """The examples to train on, and those held out; each list in an order that is the same everywhere."""
    parts: tuple[dict[bytes, Example], dict[bytes, Example]] = ({}, {})
    for module, path in modules(root):
        part = parts[is_held_out(module)]
        try:
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue  # some modules are there to be broken
        for prompt, completion in functions(source, tree):
            if len(prompt) + len(completion) <= MAX_CHARS:
                key = hashlib.sha256((prompt + completion).encode()).digest()
                part.setdefault(key, {"prompt": prompt, "completion": completion, "module": module})
    train, test = ([part[key] for key in sorted(part)] for part in parts)
    return train, test


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    """The name and the file of each module of the standard library at `root`."""
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if not SKIPPED.intersection(inside.parts):
            yield ".".join(inside.with_suffix("").parts), path


def is_held_out(module: str) -> bool:
    """One module in ten, by its name."""
    return hashlib.sha256(module.encode()).digest()[0] < 26


def functions(source: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Prompt and completion of each documented function, moved to the left margin."""
    lines = source.splitlines(keepends=True)
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or len(node.body) < 2:
            continue
        doc = node.body[0]
        if not (
            isinstance(doc, ast.Expr)
            and isinstance(doc.value, ast.Constant)
            and isinstance(doc.value.value, str)
        ):
            continue
        head, body = lines[node.lineno - 1 : doc.end_lineno], lines[doc.end_lineno : node.end_lineno]
        margin = head[0][: len(head[0]) - len(head[0].lstrip())]
        if body and all(line.startswith(margin) for line in head + body if line.strip()):
            yield _moved(head, margin), _moved(body, margin).rstrip() + "\n"


def _moved(lines: list[str], margin: str) -> str:
    return "".join(line[len(margin) :] if line.strip() else "\n" for line in lines)


def main(folder: Path) -> None:
    """Write both files."""
    train, test = examples(Path(sysconfig.get_path("stdlib")))
    for name, rows in (("train", train), ("test", test)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
