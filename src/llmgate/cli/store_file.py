"""Whether an SQLite store can be where gate.toml says: looked at from outside, without changing anything."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import sqlalchemy as sa

from ..errors import StoreError
from ..store import Store
from ..store.migrations import CORE
from ..store.schema import quotas

if TYPE_CHECKING:
    from ..config import Config
    from ..config import Store as StoreSettings


def file_of(store: StoreSettings) -> Path | None:
    """The file of an SQLite store; None of a server's."""
    url = store.url.reveal()
    return Path(url.removeprefix("sqlite:///")) if store.url.scheme == "sqlite" else None


def unusable(store: StoreSettings) -> str | None:
    """Why neither the store nor its journals can be written; None if they can."""
    places = [("store.url", file_of(store)), ("store.journals", store.journals)]
    for key, path in places:
        if path is None:
            continue
        folder = path.parent
        if not folder.is_dir():
            return f"{key}: the folder {folder} is not there: make it, or name another"
        if path.is_dir() and key == "store.url":
            return f"{key}: {path} is a folder: name a file in it"
        target = path if path.exists() else folder
        if not os.access(target, os.W_OK):
            return f"{key}: {target} cannot be written by this user: change its rights, or name another"
    return None


def empty_or_foreign(store: StoreSettings) -> tuple[str | None, str | None]:
    """A problem and a warning: the file has tables of another program, or nothing in it at all."""
    path = file_of(store)
    if path is None or not path.exists():
        return None, None
    if path.stat().st_size == 0:
        return None, f"store.url: {path} is empty: if there was a gate's store, restore its backup"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
            tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    except sqlite3.DatabaseError:  # whoever opens it to read revisions says what it is
        return None, None
    if not tables or CORE.version_table in tables:
        return None, None
    shown = ", ".join(sorted(tables)[:3])
    return f"store.url: {path} is another program's (it has {shown}): name a file of the gate's own", None


async def store_warnings(config: Config) -> list[str]:
    """What the store holds and gate.toml has no word for. Nothing of a store that is not there yet, or behind."""
    path = file_of(config.store)
    if config.prices or (path is not None and not path.exists()):
        return []
    wanted = sa.select(quotas.c.id).where(quotas.c.unit == "money").limit(1)
    try:
        async with Store.open(config.store.url.reveal()) as store, store.connect() as db:
            has_money = await db.scalar(wanted) is not None
    except StoreError:  # whoever opens it next says why
        return []
    found = "there are quotas of money by `llmgate quota`, and nothing has a price: add [prices.MODEL]"
    return [f"prices: {found}"] if has_money else []
