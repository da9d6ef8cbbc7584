"""A data set of the Hugging Face hub as JSONL: `python hub.py OWNER/NAME FOLDER` writes FOLDER/train.jsonl.

A process of its own: the library `datasets`, which it needs, is large, and the hub may take its time. Where the
data set has a part called test or validation, that is written to FOLDER/test.jsonl.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def load(name: str) -> Any:
    """All parts of the data set, by their names."""
    import datasets  # noqa: PLC0415 - not installed unless somebody wants it

    return datasets.load_dataset(name)


def main(name: str, folder: Path) -> None:
    """Write the parts."""
    try:
        parts = load(name)
    except ImportError as error:
        sys.exit(f"the package {error.name} is not installed")
    for part, file in (("train", "train.jsonl"), ("validation", "test.jsonl"), ("test", "test.jsonl")):
        if part in parts:
            parts[part].to_json(folder / file, lines=True, force_ascii=False)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
