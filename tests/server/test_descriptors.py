"""The limit of file descriptors."""

import subprocess
import sys

CODE = "import resource; from llmgate.server.descriptors import raise_descriptor_limit as raised; "


def limits(ulimit: str, code: str) -> str:
    return subprocess.run(
        ["bash", "-c", f'{ulimit}; exec "$0" -c "$1"', sys.executable, CODE + code],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    code = "print(raised(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    assert limits("ulimit -Sn 128; ulimit -Hn 512", code) == "512 512 512"
