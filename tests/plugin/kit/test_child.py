"""A child process that tells of its work: read as it comes, stopped, killed with all that it has started."""

import sys
from pathlib import Path

from servers import until

from llmgate.plugin.kit.child import MAX_LINE_BYTES, Child, running

WAITS = """
import signal, sys, time
signal.signal(15, lambda *_: sys.exit(75))
print('{"event": "up"}', flush=True)
time.sleep(600)
"""
STARTS = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(%r, "w").write(str(child.pid))
"""
NOISE = """
import sys
for line in ("job 7 queued", "[1]", '{"other": 1}', "x" * %d, '{"event": "step", "step": 1}'):
    print(line)
sys.exit("why")
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


async def up(child: Child) -> None:
    seen: list[object] = []

    def told() -> bool:
        seen.extend(child.take_events())
        return bool(seen)

    await until(told)


async def test_events_are_read_and_what_is_none_is_passed_over(tmp_path: Path) -> None:
    async with running(python(NOISE % (3 * MAX_LINE_BYTES)), log=tmp_path / "log") as child:
        assert await child.wait() == 1
        assert child.ended
        assert child.take_events() == [{"event": "step", "step": 1}]
        assert child.take_events() == []
    assert (tmp_path / "log").read_text() == "why\n"


async def test_it_may_end_in_order(tmp_path: Path) -> None:
    async with running(python(WAITS), log=tmp_path / "log") as child:
        await up(child)
        await child.wait_at_most(0.0)
        assert not child.ended
        child.stop()
        assert await child.wait() == 75
        child.stop()  # it is gone


async def test_leaving_the_block_kills_it_and_all_that_it_has_started(tmp_path: Path) -> None:
    code = STARTS % str(tmp_path / "pid") + WAITS
    async with running(python(code), log=tmp_path / "log") as child:
        await up(child)
        pid = int((tmp_path / "pid").read_text())
    assert await child.wait() == -9
    await until(lambda: not _alive(pid))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
