"""Where the gate keeps what must outlive it: one schema on SQLite or PostgreSQL, migrated forward."""

from .change_stamp import Changes, FileChanges, LocalChanges
from .engine import Store
from .migrations import CORE, Migrations, migrate, pending

__all__ = ["CORE", "Changes", "FileChanges", "LocalChanges", "Migrations", "Store", "migrate", "pending"]
