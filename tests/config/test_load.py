"""From the file to the config: what a good file gives, and that a bad one gives all of its problems."""

import copy
import datetime as dt
import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmgate.config import Config, check_file, describe, from_document, load, located
from llmgate.config.annotations import written
from llmgate.config.messages import join
from llmgate.errors import ConfigError

FULL = Path(__file__).with_name("full.toml")
DOCUMENT = tomllib.loads(FULL.read_text())
FREE = ("plugins.audit.folder",)
NAMED = (
    *("upstreams", "prices", "plugins"),
    *("upstreams.vllm.models", "upstreams.vllm.headers", "upstreams.vllm.queue.weights"),
)
"""Tables whose keys are the operator's own names."""
SECRETS = ("wachtwoord", "sk-geheim", "0123456789abcdef")

Path_ = tuple[str | int, ...]


def place_of(path: Path_) -> str:
    place = ""
    for step in path:
        place = f"{place}[{step}]" if isinstance(step, int) else join(place, step)
    return place


def paths(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Every key and every item of a document, by the steps that lead to it."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield (*path, step)
        yield from paths(inner, (*path, step))


def at(document: Any, path: Path_) -> Any:
    for step in path:
        document = document[step]
    return document


def problems_of(document: dict[str, Any], environ: dict[str, str] | None = None) -> list[str]:
    try:
        from_document(document, file=Path("gate.toml"), environ=environ or {})
    except ConfigError as error:
        return error.problems
    return []


def wrong_values(value: Any) -> list[Any]:
    """Values that no setting takes in the place of `value`."""
    day = dt.date(2026, 1, 1)
    if isinstance(value, bool):
        return [1, "true"]
    if isinstance(value, str):
        return [True, 1.5, []]
    if isinstance(value, int):
        return [True, 1.5, -1, 2**63]
    if isinstance(value, float):
        return [True, "1.0", -1.0, math.nan, math.inf]
    return [day, {} if isinstance(value, list) else []]


PATHS = [path for path in paths(DOCUMENT) if place_of(path) not in FREE]
RENAMED = [
    path
    for path in PATHS
    if isinstance(path[-1], str) and place_of(path[:-1]) not in (*NAMED, "plugins.audit")
]


def test_every_setting_is_read_as_it_is_written() -> None:
    """What full.toml says is what the config holds, value for value."""
    config = written(load(FULL, environ={}))
    audit = config["plugins"]["audit"]
    audit.update(audit.pop("settings"))
    for path in PATHS:
        value = at(DOCUMENT, path)
        if not isinstance(value, dict | list):
            assert at(config, path) == value, place_of(path)


def test_the_full_file_has_every_setting() -> None:
    """full.toml leaves nothing out, so that the tests made from it leave nothing out."""
    has = set()
    for path in paths(DOCUMENT):
        steps = ["NAME" if place_of(path[:i]) in NAMED else step for i, step in enumerate(path)]
        has.add(".".join("[]" if isinstance(step, int) else step for step in steps).replace(".[]", "[]"))
    has = {
        key.replace("prices.NAME", "prices.MODEL").replace("weights.NAME", "weights.TENANT") for key in has
    }
    assert {setting.key for setting in describe(Config)} - has == {"plugins.NAME.*"}


@pytest.mark.parametrize("path", PATHS, ids=place_of)
def test_a_value_of_the_wrong_type_is_the_one_problem(path: Path_) -> None:
    """Its line names the place, and nothing that only follows from it is reported."""
    for wrong in wrong_values(at(DOCUMENT, path)):
        document = copy.deepcopy(DOCUMENT)
        at(document, path[:-1])[path[-1]] = wrong
        (problem,) = problems_of(document)
        assert problem.startswith(f"gate.toml: {place_of(path)}: expected "), (wrong, problem)


@pytest.mark.parametrize("path", RENAMED, ids=place_of)
def test_an_unknown_key_is_named(path: Path_) -> None:
    """A key with a letter too much is reported where it stands, with what was meant."""
    document = copy.deepcopy(DOCUMENT)
    table = at(document, path[:-1])
    table[f"{path[-1]}x"] = table.pop(path[-1])
    place = place_of((*path[:-1], f"{path[-1]}x"))
    expected = f'gate.toml: {place}: unknown key (did you mean "{path[-1]}"?)'
    assert expected in problems_of(document)


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    """Unknown keys, wrong types, values out of range, dangling names and rules: one error has them all."""
    file = tmp_path / "gate.toml"
    file.write_text("""
        [gate]
        wrokers = 2
        max_body = 0
        access_log = "yes"
        [upstreams.vllm]
        urls = ["localhost:8001"]
        api_key = "env:VLLM_KEY"
        [upstreams.openai]
        urls = ["https://api.openai.com"]
        [[routes]]
        path = "/v1"
        upstream = "vllm"
        [[routes]]
        path = "/v1"
        upstream = "openai"
        middleware = ["quota"]
        [[routes]]
        path = "/v2"
        upstream = "vlm"
        [[limits]]
        per = "key"
        requests = 5
        tokens = 5
    """)
    with pytest.raises(ConfigError) as caught:
        load(file, environ={})
    assert [problem.removeprefix(f"{file}: ") for problem in caught.value.problems] == [
        "gate.max_body: expected an integer (at least 1), found 0",
        'gate.access_log: expected true or false, found "yes"',
        'gate.wrokers: unknown key (did you mean "workers"?)',
        'upstreams.vllm.urls[0]: "localhost:8001" has no http:// or https:// before the host',
        'upstreams.vllm.api_key: the environment variable "VLLM_KEY" is not set',
        'routes[1].name: another route is called "/v1" already: give each a name of its own',
        'routes[1].path: "/v1" on 127.0.0.1:8000 is another route\'s already: change path or listen',
        'routes[1].middleware: "quota" needs what "accounting" reads: put "accounting" after it',
        'routes[2].upstream: no upstream "vlm" (known: vllm, openai)',
        "limits[0]: write exactly one of requests, tokens or concurrent, found requests and tokens",
    ]
    assert check_file(file, environ={}) == caught.value.problems


def test_problems_can_be_given_their_lines(tmp_path: Path) -> None:
    """Where the key stands, or, if it is missing, its table; what is not about the file stays as it is."""
    file = tmp_path / "gate.toml"
    file.write_text('[gate]\nwrokers = 2\n\n[[routes]]\npath = "/v1"\n\n[plugins.nope]\n')
    problems = [*check_file(file, environ={}), "plugins.nope: no such plugin is installed", "store: away"]
    assert [line.removeprefix(str(file)) for line in located(file, problems)] == [
        ':2: gate.wrokers: unknown key (did you mean "workers"?)',
        ":4: routes[0].upstream: expected either upstream or upstreams",
        ":7: plugins.nope: no such plugin is installed",
        "store: away",
    ]
    file.write_text("[[[")
    problems = check_file(file, environ={})
    assert located(file, problems) == problems
    assert located(tmp_path / "gone.toml", problems) == problems


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (
            "[prices.gpt-4.1]\ninput = 1\noutput = 1",
            'a name with dots is written in quotes: prices."gpt-4.1"',
        ),
        (
            "[prices.meta/llama-3.1]\ninput = 1",
            'a name with other characters is written in quotes: [prices."meta/llama-3.1"]',
        ),
        (
            '[upstreams.vllm]\nurls = ["http://a"]\nmodels = { gpt-4.1 = "x" }',
            'a name with dots is written in quotes: upstreams.vllm.models."gpt-4.1"',
        ),
    ],
)
def test_names_of_models_that_need_quotes_are_told_so(tmp_path: Path, text: str, remedy: str) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(text)
    [problem] = check_file(file, environ={})
    assert problem.endswith(remedy)


def test_an_empty_file_is_a_gate_with_every_default(tmp_path: Path) -> None:
    """Defaults that are paths start in the folder of gate.toml too, wherever the process was started."""
    file = tmp_path / "gate.toml"
    file.write_bytes(b"\xef\xbb\xbf# saved with a byte order mark\r\n")
    config = load(file, environ={})
    assert config.store.url.reveal() == f"sqlite:///{tmp_path}/gate.db"
    assert [str(address) for address in config.gate.listen] == ["127.0.0.1:8000"]
    assert check_file(file) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[gate]\nworkers = = 2\n", "not TOML: Invalid value (at line 2, column 11)"),
        (b"[gate]\n[gate]\n", "not TOML: Cannot declare ('gate',) twice (at line 2, column 6)"),
        (b"[gate]\n# caf\xe9\n", "not UTF-8: byte 0xe9 (at line 2, column 6): save it as UTF-8"),
        (b"a = " + b"[" * 100_000, "not usable: arrays or tables are nested too deeply"),
        (b"a = " + b"9" * 5_000, "not TOML: "),
        (b"# " + b"x" * 16_777_216, "over 16777216 bytes: not a gate.toml"),
    ],
    ids=["syntax", "twice", "latin-1", "nested", "digits", "large"],
)
def test_a_file_that_is_no_toml_says_where(tmp_path: Path, content: bytes, problem: str) -> None:
    """Line and column, and what to do."""
    file = tmp_path / "gate.toml"
    file.write_bytes(content)
    (found,) = check_file(file)
    assert found.startswith(f"{file}: {problem}")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.toml", "No such file or directory"),
        (".", "Is a directory"),
        ("nul\0.toml", "embedded null byte"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, name: str, reason: str) -> None:
    """The system's own reason, not a traceback."""
    (problem,) = check_file(tmp_path / name)
    assert problem.endswith(f": cannot be read: {reason}")


def test_no_secret_is_shown() -> None:
    """Neither the config's repr nor any problem with a secret's neighbourhood quotes a secret."""
    shown = repr(load(FULL, environ={}))
    for path in PATHS:
        document = copy.deepcopy(DOCUMENT)
        value = at(document, path)
        # A string where a table or array was, and the other way round: the ways in which secrets are misplaced.
        at(document, path[:-1])[path[-1]] = [value] if isinstance(value, str) else str(value)[:12]
        shown += "\n".join(problems_of(document))
    document = copy.deepcopy(DOCUMENT)
    document["store"]["url"] = "mysql://gate:wachtwoord@db/gate"
    document["limits_store"]["url"] = "rediss://:wachtwoord@"
    document["upstreams"]["vllm"]["urls"] = "http://gate:wachtwoord@gpu:8001"
    document["upstreams"]["openai"]["urls"] = ["http://gate:wachtwoord@gpu:8001"]
    document["upstreams"]["vllm"]["api_key"] = 12345678
    shown += "\n".join(problems_of(document))
    assert not [secret for secret in (*SECRETS, "12345678") if secret in shown]


# How long an example takes says nothing here: the machine may be busy.
untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
scalars = st.one_of(
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**60, max_value=2**9_000),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["env:", "env:HOME", "file:", "file:/", "unix:", "[::1]:1", "sqlite:///", "http://[", "*"]
    ),
    st.datetimes(),
    st.dates(),
    st.times(),
)
keys = st.one_of(st.text(max_size=8), st.sampled_from(sorted({str(path[-1]) for path in paths(DOCUMENT)})))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=25,
)


@untimed
@given(st.dictionaries(keys, values, max_size=6))
def test_a_junk_document_is_only_ever_a_config_error(document: dict[str, Any]) -> None:
    """Whatever TOML can hold, the answer is a config or problems that each fit on one printable line."""
    assert all(problem.isprintable() for problem in problems_of(document))


@untimed
@given(st.sampled_from(PATHS), values)
def test_a_junk_value_is_only_ever_a_config_error(path: Path_, value: Any) -> None:
    """The same for one value that went wrong in a good file."""
    document = copy.deepcopy(DOCUMENT)
    at(document, path[:-1])[path[-1]] = value
    assert all(problem.isprintable() for problem in problems_of(document))


@untimed
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.booleans())
def test_a_junk_file_is_only_ever_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, appended: bool
) -> None:
    """The same for bytes, alone and after a good file."""
    file = tmp_path_factory.getbasetemp() / "junk.toml"
    file.write_bytes(FULL.read_bytes() + junk if appended else junk)
    assert all(problem.isprintable() for problem in check_file(file, environ={}))
