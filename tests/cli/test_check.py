import socket
import sqlite3
from pathlib import Path

import pytest

from cli.conftest import Cli


def test_a_good_file_is_called_good_and_the_store_is_left_alone(unmigrated: Cli, folder: Path) -> None:
    """A store that is not there yet is no problem, as serving makes it; but it is said."""
    stdout = unmigrated("check").stdout
    assert "gate.toml: good (routes: 1, upstreams: 1, plugins: 0)" in stdout
    assert "`llmgate migrate` will apply core" in stdout
    assert not (folder / "gate.db").exists()


def test_a_migrated_store_is_called_ready(llmgate: Cli) -> None:
    """Asked without writing."""
    found = llmgate.json("check")
    assert found["problems"] == []
    assert "store: reachable, and its tables are as needed" in found["good"]


def test_every_problem_of_the_file_is_printed(unmigrated: Cli, folder: Path) -> None:
    """On stderr, one a line, with exit code 2."""
    (folder / "gate.toml").write_text("[gate]\nlisten = []\nworker = 2\n")
    result = unmigrated("check", code=2)
    assert result.stdout == "" and len(result.stderr.splitlines()) == 2
    assert len(unmigrated.json("check", code=2)["problems"]) == 2


def test_a_plugin_that_is_not_installed_is_found(unmigrated: Cli, folder: Path) -> None:
    """Only building the gate shows it."""
    with (folder / "gate.toml").open("a") as file:
        file.write("[plugins.nope]\n")
    assert "plugins.nope: no such plugin is installed" in unmigrated("check", code=2).stderr


def test_routes_that_clash_are_found(unmigrated: Cli, folder: Path) -> None:
    """Both claims are named, with the remedy."""
    with (folder / "gate.toml").open("a") as file:
        file.write('[[routes]]\npath = "/"\nupstream = "local"\nallow = ["GET /healthz"]\n')
    stderr = unmigrated("check", code=2).stderr
    assert "GET /healthz is also claimed by" in stderr


def test_a_store_that_is_no_database_is_a_problem(unmigrated: Cli, folder: Path) -> None:
    """Reported beside the others, not as a traceback."""
    (folder / "gate.db").write_bytes(b"this is not SQLite" * 100)
    assert "is not an SQLite file" in unmigrated("check", code=2).stderr


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[store]\nurl = "sqlite:///nowhere/gate.db"', "store.url: the folder "),
        ('[store]\nurl = "sqlite:///songs.db"', "is another program's (it has songs)"),
        ('[store]\njournals = "nowhere/journals"', "store.journals: the folder "),
    ],
)
def test_a_store_that_cannot_be_there_is_a_problem_with_its_line(
    unmigrated: Cli, folder: Path, text: str, problem: str
) -> None:
    with sqlite3.connect(folder / "songs.db") as db:
        db.execute("CREATE TABLE songs (a)")
    file = folder / "gate.toml"
    file.write_text(file.read_text().rstrip() + "\n" + text)
    line = file.read_text().splitlines().index(text.splitlines()[1]) + 1
    stderr = unmigrated("check", code=2).stderr
    assert problem in stderr
    assert f"gate.toml:{line}: " in stderr
    assert not (folder / "nowhere").exists()


def test_an_empty_store_is_a_warning(unmigrated: Cli, folder: Path) -> None:
    """It may be a backup that went wrong; the exit code stays 0."""
    (folder / "gate.db").touch()
    found = unmigrated.json("check")
    [warning] = found["warnings"]
    assert "is empty: if there was a gate's store, restore its backup" in warning


def test_warnings_are_told_from_problems(unmigrated: Cli, folder: Path) -> None:
    file = folder / "gate.toml"
    file.write_text(file.read_text().replace('window = "month"', ""))
    result = unmigrated("check")
    assert "warning: " in result.stderr and "quotas[0].window: not written" in result.stderr
    assert "gate.toml: good" in result.stdout


def test_check_contacts_nobody_even_where_reconcile_is_on(unmigrated: Cli, folder: Path) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    url = f"http://127.0.0.1:{server.getsockname()[1]}"
    file = folder / "gate.toml"
    file.write_text(
        f'[upstreams.v]\nurls = ["{url}"]\ndialect = "vllm"\n[reconcile]\ninterval = "1s"\n'
        + file.read_text()
    )
    unmigrated("check")
    with server, pytest.raises(BlockingIOError):
        server.accept()


def test_settings_that_give_away_what_they_sell_are_warned_of_where_strangers_come(
    unmigrated: Cli, folder: Path
) -> None:
    text = """
        [gate]
        listen = ["{address}"]
        trusted_proxies = [{proxy}]
        [upstreams.v]
        urls = ["http://127.0.0.1:9"]
        [[routes]]
        path = "/v1"
        upstream = "v"
        [plugins.llmgate_accounts]
    """
    scenes = (("0.0.0.0:1", '"127.0.0.1"', 3), ("127.0.0.1:1", '"127.0.0.1"', 3), ("127.0.0.1:1", "", 1))
    for address, proxy, count in scenes:
        (folder / "gate.toml").write_text(text.format(address=address, proxy=proxy))
        warnings = unmigrated.json("check")["warnings"]
        assert len(warnings) == count, warnings
        assert any(
            "routes[0]: anybody may register (llmgate_accounts), and no quota bounds" in w for w in warnings
        )
        assert any(":10: plugins.llmgate_accounts.max_token_limit: without it" in w for w in warnings) is (
            count == 3
        )
