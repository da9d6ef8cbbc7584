"""Limits of failed log-ins, of an address and of an account, which grow with every further failure.

They are in the store, so all workers and hosts of a gate count together.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import sqlalchemy as sa

from ..errors import RateLimited
from ..store.schema import login_failures

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..store import Store

FORGOTTEN_AFTER_S = 900.0
"""Without a failure for so long, what failed before does not count any more."""
TRUSTED_FOR_S = 30 * 86_400.0
"""For so long an address is one from which an account was logged in to before."""
REMEMBERED_ANEW_AFTER_S = 3600.0
"""A log-in from an address that is known writes that down once an hour at most."""


@dataclass(frozen=True, slots=True)
class Growth:
    """So many failures are `free`; each further one doubles the pause, from one second to `longest_s`."""

    free: int
    longest_s: float

    def pause(self, failures: int) -> float:
        """Seconds until the next try, after so many failures."""
        over = failures - self.free
        return 0.0 if over <= 0 else min(self.longest_s, 2.0 ** min(over - 1, 32))


OF_ADDRESS = Growth(free=20, longest_s=300.0)
"""Many people may sit behind one address."""
OF_ACCOUNT = Growth(free=10, longest_s=60.0)
"""Short: whoever guesses at an account must not be able to keep its owner out."""


class LoginLimits:
    """What failed lately, in `store`; rows are few, as each costs whoever guesses a turn at hashing, and soon gone.

    Times are those of the store's clock. One that goes back lengthens no wait beyond its own pause.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def check(self, account: str, address: str | None) -> None:
        """Raise `RateLimited` while either must wait.

        An address from which the account was logged in to before does not wait for what others got wrong.
        """
        now = self._store.clock()
        keys = dict(_keys(account, address))
        good = _good(account, address)
        wanted = sa.select(login_failures).where(
            login_failures.c.key.in_([*keys, good]), login_failures.c.expires_at > now
        )
        async with self._store.connect() as db:
            rows = {row.key: row for row in await db.execute(wanted)}
        if good in rows:
            keys.pop(_account(account), None)
        wait = max(
            (_wait(rows[key], growth, now) for key, growth in keys.items() if key in rows), default=0.0
        )
        if wait > 0:
            raise RateLimited("Too many failed log-ins. Try again later.", retry_after=math.ceil(wait))

    async def failed(self, account: str, address: str | None) -> None:
        """Count a failure."""
        now = self._store.clock()
        fresh = {"failures": 1, "last_at": now, "expires_at": now + FORGOTTEN_AFTER_S}
        table = login_failures
        again = sa.case((table.c.expires_at <= now, 1), else_=table.c.failures + 1)
        async with self._store.begin() as db:
            await db.execute(table.delete().where(table.c.expires_at <= now))
            for key, _ in sorted(_keys(account, address)):
                insert = self._store.insert(table).values(key=key, **fresh)
                await db.execute(
                    insert.on_conflict_do_update(
                        index_elements=[table.c.key], set_={**fresh, "failures": again}
                    )
                )

    async def succeeded(self, account: str, address: str | None) -> None:
        """Forget what failed of the account; what else failed of the address still counts."""
        now, good = self._store.clock(), _good(account, address)
        wanted = sa.select(login_failures).where(login_failures.c.key.in_([_account(account), good]))
        async with self._store.connect() as db:
            rows = {row.key: row for row in await db.execute(wanted)}
        known = address is None or (good in rows and now - rows[good].last_at < REMEMBERED_ANEW_AFTER_S)
        if known and _account(account) not in rows:
            return
        async with self._store.begin() as db:
            await db.execute(login_failures.delete().where(login_failures.c.key == _account(account)))
            if not known:
                await self._trust(db, good, now)

    async def _trust(self, db: AsyncConnection, good: str, now: float) -> None:
        row = {"failures": 0, "last_at": now, "expires_at": now + TRUSTED_FOR_S}
        insert = self._store.insert(login_failures).values(key=good, **row)
        await db.execute(insert.on_conflict_do_update(index_elements=[login_failures.c.key], set_=row))


def _keys(account: str, address: str | None) -> Iterator[tuple[str, Growth]]:
    if address is not None:
        yield _digest("address", network_of(address)), OF_ADDRESS
    yield _account(account), OF_ACCOUNT


def _account(account: str) -> str:
    return _digest("account", account)


def _good(account: str, address: str | None) -> str:
    """An account together with an address that it was logged in to from."""
    return "" if address is None else _digest("good", account, network_of(address))


def _digest(*parts: str) -> str:
    """What people type into a log-in is in no table: some of it are passwords."""
    return blake2b("\0".join(parts).encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _wait(row: sa.Row[tuple[str, int, float, float]], growth: Growth, now: float) -> float:
    pause = growth.pause(row.failures)
    return min(pause, float(row.last_at) + pause - now)


def network_of(address: str) -> str:
    """What one client may be taken to own: an IPv4 address, or the /64 of an IPv6 one (RFC 6177)."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
