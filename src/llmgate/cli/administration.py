"""The store's services, opened for one command; they work while the gate runs, from beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from ..config import Config, load
from ..errors import NotFound
from ..gate.from_config import defaults_of
from ..gate.services import identity_of
from ..ledger import Quotas, Reports
from ..store import Store
from .options import gate_file

if TYPE_CHECKING:
    from ..identity import Identity, Key, Organization, User

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Administration:
    """What operators work on. Its methods find what a command line names, and say where to look if not."""

    config: Config
    store: Store
    identity: Identity
    quotas: Quotas
    reports: Reports

    async def user(self, name: str) -> User:
        """The user of this name. Raises `NotFound`, also for the e-mail address of somebody who is called otherwise:
        whoever registers may write down anybody's."""
        users = self.identity.users
        with or_look_at(f'user "{name}"', "llmgate user list"):
            try:
                return await users.by_username(name)
            except NotFound:
                if "@" not in name:
                    raise
                other = await users.by_email(name)
        raise NotFound(
            f'"{name}" is what {other.username} says to be their address, which nobody has confirmed: name '
            f"{other.username} if you mean them."
        )

    async def organization(self, name: str) -> Organization:
        """The organization of this name. Raises `NotFound`."""
        with or_look_at(f'organization "{name}"', "llmgate org list"):
            return await self.identity.organizations.by_name(name)

    async def key(self, key_id: int) -> Key:
        """The key with this id. Raises `NotFound`."""
        with or_look_at(f"key {key_id}", "llmgate key list"):
            return await self.identity.keys.by_id(key_id)

    async def usernames(self, ids: Iterable[int | None]) -> dict[int | None, str]:
        """The names of these users; an id of None has none."""
        return {one: (await self.identity.users.by_id(one)).username for one in set(ids) if one is not None}

    async def organization_names(self, ids: Iterable[int | None]) -> dict[int | None, str]:
        """The names of these organizations; an id of None has none."""
        organizations = self.identity.organizations
        return {one: (await organizations.by_id(one)).name for one in set(ids) if one is not None}


@asynccontextmanager
async def administer(config: Config) -> AsyncIterator[Administration]:
    """Open the store of `config`. Raises `StoreError` if it is not there or not migrated."""
    settings = config.store
    async with Store.open(
        settings.url.reveal(), synchronous=settings.synchronous, busy_timeout=settings.busy_timeout
    ) as store:
        yield Administration(
            config, store, identity_of(config, store), Quotas(store, defaults_of(config)), Reports(store)
        )


def administration(
    work: Callable[Concatenate[Administration, P], Coroutine[Any, Any, R]],
) -> Callable[P, R]:
    """Make a command of `work`: run it with the store of gate.toml open."""

    @gate_file
    @wraps(work)
    def command(path: Path, /, *args: P.args, **kwargs: P.kwargs) -> R:
        async def run() -> R:
            async with administer(load(path)) as admin:
                return await work(admin, *args, **kwargs)

        return asyncio.run(run())

    return command


@contextmanager
def or_look_at(what: str, listing: str) -> Iterator[None]:
    """A `NotFound` from inside says that `what` is missing and which command lists what there is."""
    try:
        yield
    except NotFound as error:
        raise NotFound(f"There is no {what}: `{listing}` shows them all.") from error
