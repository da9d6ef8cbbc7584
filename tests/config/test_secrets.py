"""Secrets come from where gate.toml says, or not at all, and do not show themselves."""

from pathlib import Path

import pytest

from llmgate.config.secrets import PluginSettings, Secret, SecretUrl, Sources, secret_text


def test_a_secret_does_not_show_itself() -> None:
    """Not by repr, str or in a format; only by asking."""
    secret = Secret("geheim")
    assert "geheim" not in f"{secret!r} {secret} {[secret]}"
    assert secret.reveal() == "geheim"
    assert secret == Secret("geheim") != Secret("other")


def test_a_secret_url_shows_all_but_credentials_and_options() -> None:
    """An operator can tell which server is meant."""
    url = SecretUrl("postgresql://gate:a/b@c@db:5432/gate?password=geheim")
    assert repr(url) == "SecretUrl('postgresql://***@db:5432/gate')"
    assert url.scheme == "postgresql"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_is_plain_or_named(tmp_path: Path, ending: str) -> None:
    """Text, a variable, or a file in the folder of gate.toml, whose last line end does not count."""
    (tmp_path / "key").write_bytes(
        f"from file\n{ending}".encode() if not ending else f"from file{ending}".encode()
    )
    sources = Sources(tmp_path / "gate.toml", {"KEY": "from env"})
    assert secret_text("plain", sources) == "plain"
    assert secret_text("env:KEY", sources) == "from env"
    assert secret_text("file:key", sources) == "from file"
    assert secret_text(f"file:{tmp_path}/key", sources) == "from file"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "an empty secret"),
        ("env:", 'the environment variable "" is not set'),
        ("env:MISSING", 'the environment variable "MISSING" is not set'),
        ("env:EMPTY", 'the environment variable "EMPTY" is empty'),
        ("file:missing", "No such file or directory"),
        ("file:.", "Is a directory"),
        ("file:a\0b", "embedded null byte"),
        ("file:empty", "is empty"),
        ("file:binary", "is not UTF-8 text"),
        ("file:large", "too large for a secret"),
    ],
)
def test_a_secret_that_cannot_be_had_says_why(tmp_path: Path, text: str, reason: str) -> None:
    """The name is told, never a content."""
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "binary").write_bytes(b"geheim\xff")
    (tmp_path / "large").write_bytes(b"geheim" * 20_000)
    with pytest.raises(ValueError, match=reason) as caught:
        secret_text(text, Sources(tmp_path / "gate.toml", {"EMPTY": ""}))
    assert "geheim" not in str(caught.value)


def test_the_settings_of_a_plugin_are_not_shown() -> None:
    """Only the plugin knows which of them are secrets."""
    settings = PluginSettings({"key": "geheim"}, Sources(Path("gate.toml"), {}))
    assert repr(settings) == "PluginSettings(['key'])"
    assert settings == {"key": "geheim"}


@pytest.mark.parametrize(
    "text",
    [
        *("$KEY", "${KEY}", "${env:KEY}", "$env:KEY", "%KEY%", "{{ KEY }}", "{{KEY}}", "{{ env.KEY }}"),
        *("os.environ/KEY", "environ/KEY", "os.environ['KEY']", 'os.environ["KEY"]', "os.environ.get('KEY')"),
        *("ENV:KEY", "Env:KEY", "env/KEY", "env.KEY"),
    ],
)
def test_a_variable_as_other_programs_write_it_is_refused_with_ours(text: str) -> None:
    """Taken as it stands, it would be a key that the backend refuses, much later."""
    with pytest.raises(ValueError, match='write "env:KEY"'):
        secret_text(text, Sources(Path("gate.toml"), {"KEY": "from env"}))


@pytest.mark.parametrize("text", ["postgresql://gate:${PW}@db/gate", "redis://:{{ PW }}@cache"])
def test_a_variable_inside_of_a_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="put the whole URL into one"):
        secret_text(text, Sources(Path("gate.toml"), {}))


@pytest.mark.parametrize(
    "text", ["sk-$KEY", "pa$$word", "100%", "a{{b", "environment", "$", "postgresql://a:$b@c/d"]
)
def test_a_secret_that_only_has_such_letters_is_one(text: str) -> None:
    assert secret_text(text, Sources(Path("gate.toml"), {})) == text
