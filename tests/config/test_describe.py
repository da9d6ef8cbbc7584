"""The settings as data: what the reference is made from."""

import tomllib

from llmgate.config import Config, Setting, convert_table, describe
from llmgate.config.schema import Upstream

SETTINGS = {setting.key: setting for setting in describe(Config)}


def test_every_setting_is_documented() -> None:
    """One line each, that ends like a sentence."""
    bare = [key for key, setting in SETTINGS.items() if not setting.description.endswith((".", "all."))]
    assert bare == []
    assert not [key for key, setting in SETTINGS.items() if "\n" in setting.description]


def test_a_setting_says_key_type_default_and_description() -> None:
    """In the words of the error messages, with the default as gate.toml would have it."""
    assert SETTINGS["gate.max_body"] == Setting(
        "gate.max_body",
        "an integer (at least 1)",
        "16_777_216",
        "Largest request body, in bytes; over it: 413.",
    )
    assert SETTINGS["upstreams.NAME.urls"].default == "required"
    assert SETTINGS["upstreams.NAME.health.path"].default == "none"
    assert SETTINGS["store.url"].default == '"sqlite:///gate.db"'
    assert SETTINGS["gate"].default == ""


def test_what_the_operator_names_has_a_placeholder() -> None:
    """And arrays of tables have brackets."""
    assert {"prices.MODEL.input", "routes[].path", "plugins.NAME.prefix", "plugins.NAME.*"} <= set(SETTINGS)


def test_every_default_is_toml() -> None:
    """So it can be copied out of the reference."""
    for setting in SETTINGS.values():
        if setting.default not in {"required", "none", ""}:
            tomllib.loads(f"x = {setting.default}")


def test_a_part_can_be_described_at_its_place() -> None:
    """A plugin's own settings, for its own page."""
    keys = [setting.key for setting in describe(Upstream, "upstreams.NAME")]
    assert keys == [key for key in SETTINGS if key.startswith("upstreams.NAME.")]
    assert convert_table.__module__ == "llmgate.config.read"
