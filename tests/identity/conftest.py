from collections.abc import Callable, Coroutine
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from argon2 import PasswordHasher
from stores import clock, migrated_file, migrated_postgres, postgres_url, sqlite_url, store, store_url

from llmgate.identity import Identity, Keys, Organizations, Passwords, Sessions, Users
from llmgate.store import Store

__all__ = ["clock", "migrated_file", "migrated_postgres", "postgres_url", "sqlite_url", "store", "store_url"]

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""The parameters are argon2's business; tests need not wait for them."""


def services(store: Store) -> Identity:
    users = Users(store, Passwords(hasher=CHEAP))
    return Identity(users, Sessions(store), Keys(store), Organizations(store))


@pytest.fixture
async def identity(store: Store) -> Identity:
    return services(store)


@pytest.fixture
def on_store(migrated_file: Path, tmp_path: Path) -> Callable[..., Any]:
    """Runs a coroutine function on services over an SQLite store of its own, for property-based tests."""
    import asyncio

    count = 0

    def run(test: Callable[[Identity], Coroutine[Any, Any, None]]) -> None:
        nonlocal count
        count += 1
        path = copy(migrated_file, tmp_path / f"{count}.db")

        async def on_open() -> None:
            async with Store.open(f"sqlite:///{path}") as store:
                await test(services(store))

        asyncio.run(on_open())

    return run
