import asyncio
from pathlib import Path

from servers import serve
from starlette.types import Receive, Scope, Send

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


async def test_upstreams_are_asked_with_their_own_key_only_when_told_to(
    unmigrated: Cli, folder: Path
) -> None:
    """Nobody listens at the file's upstream: a problem; a replica that answers 2xx is good."""
    asked: list[tuple[str, bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append((scope["path"], dict(scope["headers"])[b"authorization"]))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with serve(app) as url:
        text = (folder / "gate.toml").read_text()
        with_key = f'[upstreams.good]\nurls = ["{url}"]\napi_key = "sk-own"\n' + text
        (folder / "gate.toml").write_text(with_key)
        assert (await asyncio.to_thread(unmigrated.json, "check"))["problems"] == []
        assert asked == []
        found = await asyncio.to_thread(unmigrated.json, "check", "--upstreams", code=2)
    assert asked == [("/v1/models", b"Bearer sk-own")]
    assert f"upstreams.good: {url}/v1/models: status 200" in found["good"]
    [problem] = found["problems"]
    assert problem.startswith("upstreams.local: http://127.0.0.1:9/health: ConnectError")
