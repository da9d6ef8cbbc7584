"""A host that is lost keeps what was synced, and nothing else of the store."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torture.hosts import GateHost, Missing, StoreHost

WRITES = """
import os, sys
file = os.open("gate.db-wal", os.O_RDWR | os.O_CREAT)
os.write(file, b"synced")
os.fdatasync(file)
os.write(file, b", and not")
other = os.open("gate.db-shm", os.O_RDWR | os.O_CREAT)
os.write(other, b"never synced")
"""


def test_of_a_file_what_was_synced_last_is_left(tmp_path: Path) -> None:
    """By whichever process of the host; what had been there before is."""
    try:
        host = StoreHost(tmp_path)
    except Missing as missing:
        pytest.skip(str(missing))
    (tmp_path / "gate.db").write_bytes(b"before")
    (tmp_path / "gate.db.workers").mkdir()
    (tmp_path / "gate.db.workers" / "w.journal").write_bytes(b"never synced")
    host.sync()
    (tmp_path / "gate.db").write_bytes(b"before, and more")
    subprocess.run(
        [sys.executable, "-c", WRITES], cwd=tmp_path, env={**os.environ, **host.environment}, check=True
    )
    assert (tmp_path / "gate.db-wal").read_bytes() == b"synced, and not"
    host.lose()
    left = {path.name: path.read_bytes() for path in tmp_path.glob("gate.db*")}
    assert left == {"gate.db": b"before", "gate.db-wal": b"synced"}


def test_the_journals_of_a_lost_gate_are_gone(tmp_path: Path) -> None:
    """Its database is on another host."""
    (tmp_path / "llmgate.workers").mkdir()
    (tmp_path / "llmgate.workers" / "w.journal").write_bytes(b"")
    host = GateHost(tmp_path)
    host.sync()
    host.lose()
    assert list(tmp_path.iterdir()) == []
