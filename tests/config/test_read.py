"""Reading tables into Structs: what plugins use for their own settings."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from llmgate.config import Secret, convert_table
from llmgate.config.annotations import UNIQUE
from llmgate.config.read import BROKEN, Unknowable, sound
from llmgate.config.secrets import PluginSettings, Sources
from llmgate.errors import ConfigError


class Delivery(msgspec.Struct, frozen=True):
    """One webhook."""

    folder: Path
    retries: Annotated[int, Meta(ge=0)] = 3


class Settings(msgspec.Struct, frozen=True, rename="kebab"):
    """What a plugin may want."""

    api_key: Secret | None = None
    mode: Literal["instant", "manual"] = "manual"
    ratio: float = 0.5
    days: list[int] = msgspec.field(default_factory=lambda: [1, 1])
    tags: Annotated[tuple[str, ...], Meta(extra={UNIQUE: True})] = ()
    hooks: tuple[Delivery, ...] = (Delivery(folder=Path("out")),)
    levels: Mapping[str, Annotated[int, Meta(ge=0)] | Literal["all"]] = msgspec.field(default_factory=dict)
    low: int = 0
    high: int = 10

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is over high ({self.high})")


def convert(**table: Any) -> Settings:
    sources = Sources(Path("/etc/gate.toml"), {"KEY": "sk"})
    return convert_table(Settings, PluginSettings(table, sources), "plugins.shop")


def problems(**table: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        convert(**table)
    return [problem.removeprefix("/etc/gate.toml: plugins.shop") for problem in caught.value.problems]


def test_a_plugin_reads_its_own_table() -> None:
    """By the names in TOML, with secrets and paths resolved, and defaults read like written values."""
    settings = convert(**{"api-key": "env:KEY", "ratio": 1, "levels": {"debug": "all", "info": 3}})
    assert settings.api_key == Secret("sk")
    assert settings.ratio == 1.0
    assert settings.days == [1, 1]
    assert settings.hooks == (Delivery(folder=Path("/etc/out"), retries=3),)
    assert settings.levels == {"debug": "all", "info": 3}


def test_a_table_out_of_nowhere_is_in_this_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For a plugin that is used, or tested, without a gate."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEY", "sk")
    settings = convert_table(Settings, {"api-key": "env:KEY"}, "plugins.shop")
    assert settings.api_key == Secret("sk")
    assert settings.hooks[0].folder == tmp_path / "out"
    with pytest.raises(
        ConfigError, match=r"^gate\.toml: plugins\.shop\.low: expected an integer, found true$"
    ):
        convert_table(Settings, {"low": True}, "plugins.shop")


def test_what_was_read_cannot_be_changed() -> None:
    """Structs are frozen, and so are the tables and arrays in them, unless the Struct says list or dict."""
    with pytest.raises(TypeError):
        convert(levels={"info": 3}).levels["info"] = 4  # type: ignore[index]


def test_a_plugin_gets_the_same_problem_lines() -> None:
    """Every problem at once, with file, place, what was found and the remedy."""
    assert problems(
        mode="later",
        ratio=True,
        days=[1, "2"],
        tags=["a", "b", "a"],
        hooks=[{"retires": 1}],
        levels={"x": -1},
    ) == [
        '.mode: expected "instant" or "manual", found "later"',
        ".ratio: expected a number, found true",
        '.days[1]: expected an integer, found "2"',
        ".tags[2]: there already: leave one out",
        ".hooks[0].folder: missing: expected the path of a file or folder",
        '.hooks[0].retires: unknown key (did you mean "retries"?)',
        '.levels.x: expected an integer (at least 0) or "all", found -1',
    ]


@pytest.mark.parametrize("ratio", [math.nan, math.inf, -math.inf])
def test_a_number_is_a_number_without_bounds_too(ratio: float) -> None:
    """TOML can write nan and inf; no setting means them."""
    assert problems(ratio=ratio) == [f".ratio: expected a number, found {ratio}"]


def test_a_structs_own_rule_is_reported_at_its_table() -> None:
    """A ValueError of `__post_init__` is a problem like any other."""
    assert problems(low=11) == [": low (11) is over high (10)"]


def test_a_structs_own_rule_is_left_out_where_it_cannot_be_judged() -> None:
    """A broken value is one problem, not two."""
    assert problems(low="eleven") == ['.low: expected an integer, found "eleven"']


def test_what_may_be_a_secret_is_never_shown() -> None:
    """Somebody forgot the quotes, or wrote a value where the table or array with the secret should be."""
    assert problems(**{"api-key": 1234, "hooks": "sk-geheim"}) == [
        ".api-key: expected a string, env:NAME or file:PATH, found an integer",
        ".hooks: expected an array, each item a table, found a string",
    ]


@pytest.mark.parametrize(
    "look",
    [
        lambda: BROKEN.name,
        lambda: BROKEN == 1,
        lambda: 1 in [BROKEN],
        lambda: {BROKEN},
        lambda: 1 in BROKEN,
        lambda: list(BROKEN),
        lambda: len(BROKEN),
        lambda: BROKEN < 1,
        lambda: BROKEN < 1,
        lambda: BROKEN[0],
        lambda: BROKEN("x"),
        lambda: BROKEN + 1,
        lambda: f"{BROKEN}",
    ],
)
def test_a_broken_value_cannot_be_looked_into(look: Any) -> None:
    """It counts as given, and whoever needs to know more is stopped."""
    assert BROKEN
    with pytest.raises(Unknowable):
        look()


def test_what_is_sound_can_be_judged_beside_what_is_broken() -> None:
    """One broken item does not hide the others."""
    assert list(sound([1, BROKEN, 2])) == [1, 2]
