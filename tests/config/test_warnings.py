"""What can be served and is probably not meant: each warning's finding, and that its neighbour is fine."""

from pathlib import Path
from typing import Any

import pytest

from llmgate.config import load_with_warnings
from llmgate.config.warnings import WARNINGS

BASE = """
[upstreams.vllm]
urls = ["http://10.0.0.1:8001"]
%s
[[routes]]
path = "/v1"
upstream = "vllm"
%s
"""
QUOTA = '[[quotas]]\nper = "user"\ntokens = 5\n'
CASES: list[tuple[str, str, str, str]] = [
    ("window_is_said", "", QUOTA, "quotas[0].window: not written, so it never starts anew"),
    ("window_is_said", "", QUOTA + 'window = "none"', ""),
    (
        "alias_of_a_model",
        'models = { small = "tiny", tiny = "x" }',
        "",
        'upstreams.vllm.models.small: "tiny" is an alias itself',
    ),
    ("alias_of_a_model", 'models = { tiny = "tiny" }', "", "upstreams.vllm.models.tiny: stands for itself"),
    ("alias_of_a_model", 'models = { tiny = "x", small = "x" }', "", ""),
    (
        "claimed_twice",
        'models = { chat = "x" }',
        '[[models]]\nname = "gpt"\naliases = ["chat"]\ntargets = [{ upstream = "vllm", model = "x" }]',
        "upstreams.vllm.models.chat: a table of [[models]] has this name, too",
    ),
    (
        "claimed_twice",
        'models = { chat = "x" }',
        'name = "one"\n[upstreams.b]\nurls = ["http://b"]\nmodels = { chat = "y" }\n'
        '[[routes]]\npath = "/v2"\nupstreams = ["vllm", "b"]',
        'upstreams.b.models.chat: is "x" on "vllm": one name for two models',
    ),
    (
        "claimed_twice",
        'models = { chat = "x" }',
        'name = "one"\n[upstreams.b]\nurls = ["http://b"]\nmodels = { chat = "x" }\n'
        '[[routes]]\npath = "/v2"\nupstreams = ["vllm", "b"]',
        "",
    ),
    (
        "names_of_models",
        'models = { tiny = "x" }',
        QUOTA + 'window = "day"\nmodel = "tiny"',
        'quotas[0].model: is an alias, and nothing is counted under it: write "x"',
    ),
    ("names_of_models", 'models = { tiny = "x" }', QUOTA + 'window = "day"\nmodel = "x"', ""),
    (
        "prices_of_models",
        'models = { tiny = "x" }',
        "[prices.tiny]\ninput = 1\noutput = 1",
        'prices.tiny: is an alias, and has no price by that: write "x"',
    ),
    ("prices_of_models", 'models = { tiny = "x" }', "[prices.x]\ninput = 1\noutput = 1", ""),
    (
        "unmetered",
        "",
        'allow = ["*"]\n' + QUOTA + 'window = "day"',
        'routes[0].allow: "*" lets through operations that nobody meters',
    ),
    ("unmetered", "", 'allow = ["*"]', ""),
    (
        "open_to_all",
        "",
        'authentication = "none"\n[gate]\nlisten = ["0.0.0.0:8000"]\ntrusted_proxies = ["10.0.0.1"]',
        "routes[0].authentication: anybody can use it without end",
    ),
    ("open_to_all", "", 'authentication = "none"', ""),
    (
        "open_to_all",
        "",
        'authentication = "none"\n[gate]\nlisten = ["0.0.0.0:8000"]\ntrusted_proxies = ["10.0.0.1"]\n'
        '[[limits]]\nper = "ip"\nrequests = 5',
        "",
    ),
    ("plain_text", "", '[gate]\nlisten = ["0.0.0.0:8000"]', "gate.listen[0]: keys and prompts come here"),
    ("plain_text", "", '[gate]\nlisten = ["[::1]:8000", "localhost:8001", "unix:gate.sock"]', ""),
    ("plain_text", "", '[gate]\nlisten = ["0.0.0.0:8000"]\ntrusted_proxies = ["10.0.0.1"]', ""),
    (
        "trusts_everybody",
        "",
        '[gate]\ntrusted_proxies = ["0.0.0.0/0"]',
        "gate.trusted_proxies[0]: anybody may say to be any address",
    ),
    ("trusts_everybody", "", '[gate]\ntrusted_proxies = ["10.0.0.0/8"]', ""),
]


@pytest.mark.parametrize(("rule", "upstream", "rest", "finding"), CASES)
def test_a_warning_is_about_what_is_meant_and_nothing_else(
    tmp_path: Path, rule: str, upstream: str, rest: str, finding: str
) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(BASE % (upstream, rest))
    warnings = [line.removeprefix(f"{file}: ") for line in load_with_warnings(file, environ={}).warnings]
    assert len(warnings) == bool(finding), warnings
    assert not finding or warnings[0].startswith(finding)


def test_every_warning_is_tested_both_ways() -> None:
    names = {rule.__name__ for rules in WARNINGS.values() for rule in rules}
    found: dict[bool, Any] = {
        told: {rule for rule, _, _, finding in CASES if bool(finding) is told} for told in (True, False)
    }
    assert names == found[True] == found[False]
