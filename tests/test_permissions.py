"""What a key or an organization may do: how it is checked, kept, and never given on for more."""

from __future__ import annotations

import pytest

from llmgate.errors import BadRequest
from llmgate.permissions import Permissions, decode, encode, exceeds, matches, within


@pytest.mark.parametrize(
    ("patterns", "name", "good"),
    [(("a", "llama-*"), "llama-3", True), (("a",), "ab", False), ((), "a", False), (("*",), "x/y", True)],
)
def test_names_and_patterns(patterns: tuple[str, ...], name: str, good: bool) -> None:
    assert matches(patterns, name) is good


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::1", True),
        ("fe80::1%eth0", False),
        ("nobody", False),
        ("", False),
    ],
)
def test_addresses_in_networks(address: str, good: bool) -> None:
    assert within(("10.0.0.0/8", "2001:db8::/32"), address) is good


def test_who_is_held_to_networks_is_not_let_in_from_an_unknown_address() -> None:
    assert Permissions().allows_address(None)
    assert not Permissions(networks=("0.0.0.0/0",)).allows_address(None)


def test_nothing_said_is_everything_allowed_and_nothing_kept() -> None:
    free = Permissions()
    assert (free.allows_model("x"), free.allows_route("x"), free.allows_address("1.2.3.4")) == (
        True,
        True,
        True,
    )
    assert encode(free) is None
    assert decode(None) is None


def test_what_is_kept_is_what_was_said() -> None:
    said = Permissions(
        models=("a*",), networks=("10.0.0.0/8",), priority=-3, weight=2.5, names_end_users=True
    )
    assert decode(encode(said)) == said


@pytest.mark.parametrize(
    "changes",
    [
        {"models": ("",)},
        {"models": ("a", "a")},
        {"models": ("a\n",)},
        {"models": ("x" * 257,)},
        {"models": tuple(map(str, range(201)))},
        {"routes": (" /v1",)},
        {"networks": ("10.0.0.1/8",)},
        {"networks": ("nowhere",)},
        {"networks": tuple(f"10.0.{number}.0/24" for number in range(201))},
        {"tokens_per_minute": -1},
        {"tokens_per_minute": 10**12 + 1},
        {"priority": 101},
        {"priority": -101},
        {"weight": 0.0},
        {"weight": -1.0},
        {"weight": float("nan")},
        {"weight": 1001.0},
    ],
)
def test_what_cannot_be_kept_is_refused_by_its_name(changes: dict[str, object]) -> None:
    with pytest.raises(BadRequest) as refused:
        Permissions().changed(changes)
    assert refused.value.param == next(iter(changes))


HELD = Permissions(
    models=("a", "b"), routes=("/v1",), networks=("10.0.0.0/8",), tokens_per_minute=100, priority=1
)


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({}, False),
        ({"models": ("a",)}, False),
        ({"models": None}, True),
        ({"models": ("c",)}, True),
        ({"routes": None}, True),
        ({"networks": None}, True),
        ({"tokens_per_minute": None}, True),
        ({"tokens_per_minute": 101}, True),
        ({"priority": 2}, True),
        ({"priority": None}, False),
        ({"weight": 2.0}, True),
        ({"names_end_users": True}, True),
    ],
)
def test_nobody_gives_on_more_than_he_has(changes: dict[str, object], more: bool) -> None:
    assert exceeds(HELD.changed(changes), HELD) is more
    assert exceeds(HELD, None) is True  # its class is above that of everybody
    assert exceeds(None, None) is False
