import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.conftest import Cli
from llmgate.cli import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_of_a_command_is_the_first_line_of_its_own_help(name: str) -> None:
    """The table of commands is written apart from them, so that --help loads none: the two must agree."""
    command = main.get_command(click.Context(main), name)
    assert command is not None and command.help is not None
    assert command.help.partition("\n")[0] == COMMANDS[name]


def test_help_and_version_load_no_command_and_no_database_library() -> None:
    """Starting the command line costs what click costs."""
    code = (
        "import sys; from llmgate.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "sys.exit(sorted({'sqlalchemy', 'httpx', 'uvicorn', 'llmgate.cli.serve'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "[]\n")
    assert "Serve the gate that gate.toml describes." in done.stdout


def test_an_unknown_command_is_a_usage_error(llmgate: Cli) -> None:
    """Exit code 2, and click's own words."""
    assert "No such command 'sevre'" in llmgate("sevre", code=2).stderr


def test_a_missing_gate_toml_is_named_with_the_ways_to_name_another(tmp_path: Path) -> None:
    """The first mistake of a newcomer ends with what to do next."""
    stderr = Cli(tmp_path)("user", "list", code=2).stderr
    assert f"{tmp_path / 'gate.toml'}: there is no such file" in stderr
    assert "--config" in stderr and "llmgate demo" in stderr


def test_every_problem_of_gate_toml_stands_on_a_line_of_its_own(folder: Path, unmigrated: Cli) -> None:
    """No traceback, nothing on stdout, exit code 2."""
    (folder / "gate.toml").write_text(
        '[gate]\nlisten = []\nworker = 2\n[[routes]]\npath = "v1"\nupstream = "x"\n'
    )
    result = unmigrated("usage", code=2)
    lines = result.stderr.splitlines()
    assert result.stdout == ""
    assert len(lines) >= 4 and all(line.startswith(str(folder / "gate.toml")) for line in lines)


def test_a_store_that_is_not_there_is_an_error_that_names_migrate(unmigrated: Cli, folder: Path) -> None:
    """Reading commands make no store behind the operator's back."""
    assert "run `llmgate migrate`" in unmigrated("user", "list", code=2).stderr
    assert not (folder / "gate.db").exists()


def test_python_m_llmgate_is_llmgate() -> None:
    """The program can be started without its script on the PATH."""
    said = subprocess.check_output([sys.executable, "-m", "llmgate", "--version"], text=True)
    assert said.startswith("llmgate ")


@pytest.mark.parametrize(
    "words",
    [
        ["user", "list", "--config", "FILE"],
        ["user", "--config", "FILE", "list"],
        ["routes", "--config", "FILE"],
    ],
)
def test_config_may_stand_behind_the_command(words: list[str], migrated: Path) -> None:
    file = str(migrated / "gate.toml")
    words = [file if word == "FILE" else word for word in words]
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0


def test_two_files_are_one_too_many(migrated: Path) -> None:
    words = ["--config", str(migrated / "gate.toml"), "routes", "--config", "other.toml"]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert (result.exit_code, "--config was given twice" in result.stderr) == (2, True)


SERVES = frozenset({"serve", "demo", "train-worker"})
"""Commands that print no result: they run until they are stopped."""
PRINTS_A_FILE = frozenset({"import litellm"})


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            below = group.get_command(context, name)
            assert below is not None
            yield from commands(below, (*path, name))
    else:
        yield " ".join(path), group


def test_every_command_that_prints_a_result_prints_it_for_programs_too() -> None:
    """Those of plugins as well, as the guide says."""
    without = {
        name
        for name, command in commands(main)
        if not any("--json" in option.opts and option.name == "as_json" for option in command.params)
    }
    assert without == SERVES | PRINTS_A_FILE
