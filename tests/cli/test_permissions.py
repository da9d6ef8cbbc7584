"""The options that say what a key may do, as changes of what was said before."""

from __future__ import annotations

import click
import pytest

from llmgate.cli.permissions import changes_of, shown
from llmgate.errors import BadRequest
from llmgate.permissions import Permissions

NONE = {
    "models": (),
    "routes": (),
    "networks": (),
    "priority": None,
    "weight": None,
    "requests_per_minute": None,
}


def test_what_is_not_named_stays() -> None:
    before = Permissions(models=("a",), weight=2.0)
    assert changes_of(0.0, **NONE).of(before) == before
    after = changes_of(0.0, **{**NONE, "models": ("b", "c"), "priority": 0}).of(before)
    assert after == Permissions(models=("b", "c"), weight=2.0, priority=0)


def test_what_has_columns_of_its_own_stands_beside() -> None:
    changes = changes_of(100.0, **{**NONE, "requests_per_minute": 0}, expires_in_days=1.0)
    assert changes.beside == {"requests_per_minute": 0, "expires_at": 86_500.0}
    assert changes.permissions == {}
    assert changes_of(0.0, **NONE, cleared=("expiry",)).beside == {"expires_at": None}


def test_what_is_cleared_is_as_for_everybody() -> None:
    before = Permissions(models=("a",), networks=("10.0.0.0/8",))
    assert changes_of(0.0, **NONE, cleared=("models",)).of(before) == Permissions(networks=("10.0.0.0/8",))
    with pytest.raises(click.UsageError, match="--clear models"):
        changes_of(0.0, **{**NONE, "models": ("b",)}, cleared=("models",))


def test_what_cannot_be_kept_is_refused() -> None:
    with pytest.raises(BadRequest):
        changes_of(0.0, **{**NONE, "weight": 0.0}).of(None)


def test_lists_show_names_side_by_side() -> None:
    assert shown(Permissions(models=("a", "b")))["models"] == "a, b"
    assert set(shown(None).values()) == {None}
