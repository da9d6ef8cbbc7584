"""The stores of `tests/stores.py`."""

from stores import migrated_file, sqlite_url

__all__ = ["migrated_file", "sqlite_url"]
