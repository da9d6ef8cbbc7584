"""Where the gate keeps what must outlive it: one schema on SQLite or PostgreSQL, migrated forward."""

from .change_stamp import ChangeStamp, FileChangeStamp, LocalChangeStamp
from .migrations import CORE, Migrations, migrate, pending
from .store import Store

__all__ = [
    "CORE",
    "ChangeStamp",
    "FileChangeStamp",
    "LocalChangeStamp",
    "Migrations",
    "Store",
    "migrate",
    "pending",
]
