"""A process without some of its standard streams: nothing else gets their numbers."""

import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import os, sys
from llmgate.cli.streams import open_closed_streams
open_closed_streams()
nulls = [n for n in range(3) if os.path.samestat(os.fstat(n), os.stat(os.devnull))]
print("lost"); print("lost", file=sys.stderr); sys.stdout.flush(); sys.stderr.flush()
again = os.open("/", os.O_RDONLY)
os.write(int(sys.argv[1]), repr((nulls, again > 2, [os.get_inheritable(n) for n in nulls])).encode())
"""


@pytest.mark.parametrize(
    ("closed", "expected"),
    [("2>&-", [2]), (">&- 2>&-", [1, 2]), ("<&- >&- 2>&-", [0, 1, 2])],
)
def test_a_stream_that_is_closed_is_the_null_device(closed: str, expected: list[int], tmp_path: Path) -> None:
    """A socket with the number 2 would get what is said on stderr."""
    command = f'exec 9>"$3"; exec "$1" -c "$2" 9 {closed}'
    told = tmp_path / "told"
    done = subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, PROBE, told],
        check=False,
        stdin=subprocess.PIPE,
        timeout=60,
    )
    assert (done.returncode, told.read_text()) == (0, repr((expected, True, [True] * len(expected))))
