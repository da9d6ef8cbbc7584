"""docs/reference says what the program does: each page is what the program would write today."""

import importlib.util
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def _build():
    spec = importlib.util.spec_from_file_location("reference_build", REFERENCE / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = _build()


@pytest.mark.parametrize("page", build.PAGES)
def test_a_page_of_the_reference_is_up_to_date(page: str) -> None:
    """`make reference` would change nothing."""
    assert (REFERENCE / page).read_text() == build.build(page), f"run `make reference`: {page} is out of date"
