"""A gate inside a server that is not its own."""

from pathlib import Path

import pytest
from playbook import Answers, play

from llmgate.errors import ConfigError
from llmgate.gate.hosted import CONFIG, open_hosted

GATE = """
[gate]
access_log = false
[upstreams.own]
urls = ["{url}"]
health = {{ enabled = false }}
list_models = false
[[routes]]
path = "/v1"
upstream = "own"
"""


def change(file: Path, old: str = "", new: str = "", *, more: str = "") -> None:
    file.write_text(file.read_text().replace(old, new) + more)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gate.toml"
    path.write_text(GATE.format(url="app:"))
    return path


async def test_it_makes_its_store_and_answers_at_once(file: Path) -> None:
    async with open_hosted(file, inner=Answers()) as app:
        assert (file.parent / "gate.db").exists()
        told = await play(app, path="/healthz", headers={"host": "127.0.0.1"})
        assert told.body == b'{"status":"ok"}'
        assert (await play(app, path="/v1/models", headers={"host": "127.0.0.1"})).status == 401


async def test_the_environment_names_the_file_where_nobody_can(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG, str(file))
    async with open_hosted(None, inner=Answers()) as app:
        assert app.routes


async def test_without_any_name_it_says_where_to_put_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIG, raising=False)
    with pytest.raises(ConfigError, match=f"{CONFIG}: not set"):
        async with open_hosted(None):
            pass


async def test_an_app_that_no_upstream_leads_to_is_a_problem(file: Path) -> None:
    change(file, "app:", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="upstreams: nothing leads to the app"):
        async with open_hosted(file, inner=Answers()):
            pass


async def test_inside_another_server_there_is_only_its_address(file: Path) -> None:
    """Every place that asks for another one is named."""
    own = 'path = "/v1"\nlisten = "127.0.0.1:1"'
    change(file, 'path = "/v1"', own, more='[metrics]\nlisten = "127.0.0.1:2"\n')
    with pytest.raises(ConfigError) as raised:
        async with open_hosted(file, inner=Answers()):
            pass
    assert [problem.partition(": ")[0] for problem in raised.value.problems] == [
        "routes[0].listen",
        "metrics.listen",
    ]


async def test_whoever_serves_it_is_warned_in_the_log(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    change(file, more='[[quotas]]\nper = "user"\ntokens = 1\n')
    async with open_hosted(file, inner=Answers()):
        assert "quotas[0].window: not written" in caplog.text
