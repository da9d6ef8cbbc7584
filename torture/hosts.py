"""Hosts that can be lost: what the operating system had not written to the disk is gone with them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

NONE: Mapping[str, str] = MappingProxyType({})
STORE = "gate.db*"


class Missing(Exception):
    """What a scene needs is not on this machine."""


class GateHost:
    """The host of a gate whose database is on another: its journals, which nobody syncs, are lost."""

    environment: Mapping[str, str] = NONE
    """Of the gate's processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sync(self) -> None:
        """All that is written now is on the disk."""

    def lose(self) -> None:
        """What was not synced is gone. Nobody has a file open."""
        for journals in self._folder.glob("*.workers"):
            shutil.rmtree(journals)


class StoreHost(GateHost):
    """The host of a gate and of its SQLite file, of which each part comes back as it was when it was last synced.

    A C library that is loaded before all others copies what is synced (see `disk.c`). Raises `Missing`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._disk = folder / "disk"
        self._disk.mkdir()
        library = folder / "disk.so"
        compiler = shutil.which("cc")
        if compiler is None:
            raise Missing("no C compiler is installed")
        source = Path(__file__).with_name("disk.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
        self.environment = {
            "LD_PRELOAD": str(library),
            "TORTURE_HOST": str(folder / "gate.db"),
            "TORTURE_DISK": str(self._disk),
        }

    def sync(self) -> None:
        """See `GateHost`."""
        for path in filter(Path.is_file, self._folder.glob(STORE)):
            shutil.copy(path, self._disk)

    def lose(self) -> None:
        """See `GateHost`."""
        super().lose()
        for path in filter(Path.is_file, self._folder.glob(STORE)):
            path.unlink()
        for name in ("gate.db", "gate.db-wal"):  # SQLite makes all others anew
            if (kept := self._disk / name).exists():
                shutil.copy(kept, self._folder)
