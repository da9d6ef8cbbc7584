"""Whose a response is that a backend has stored: the backend knows one caller, the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from ..store.schema import response_owners

if TYPE_CHECKING:
    from ..exchange import Principal
    from ..store import Store

KEPT_FOR_S = 30 * 86_400.0
"""For so long OpenAI keeps a response."""
MAX_KEPT = 1_000_000
"""Rows, about 100 MB; then the oldest go."""
SWEEP_EVERY = 256
"""Responses that are remembered between two looks for those to forget."""


class ResponseOwners:
    """The tenants of responses, in `store`: all workers know what one has seen. Raises `StoreError`."""

    def __init__(self, store: Store, *, max_kept: int = MAX_KEPT, sweep_every: int = SWEEP_EVERY) -> None:
        self._store = store
        self._max_kept = max_kept
        self._sweep_every = sweep_every
        self._until_sweep = 0

    async def remember(self, response_id: str, tenant: str) -> None:
        """`response_id` was made for `tenant`. Who had it first keeps it."""
        row = {"id": response_id, "tenant": tenant, "at": self._store.clock()}
        async with self._store.begin() as db:
            await db.execute(self._store.insert(response_owners).values(row).on_conflict_do_nothing())
            self._until_sweep -= 1
            if self._until_sweep <= 0:
                self._until_sweep = self._sweep_every
                newest = sa.select(response_owners.c.at).order_by(response_owners.c.at.desc())
                oldest_kept = await db.scalar(newest.offset(self._max_kept - 1).limit(1))
                before = max(self._store.clock() - KEPT_FOR_S, oldest_kept or 0.0)
                await db.execute(response_owners.delete().where(response_owners.c.at < before))

    async def is_of(self, response_id: str, tenant: str) -> bool:
        """Whether it is one of `tenant`'s."""
        wanted = sa.select(response_owners.c.tenant).where(
            response_owners.c.id == response_id,
            response_owners.c.at >= self._store.clock() - KEPT_FOR_S,
        )
        async with self._store.connect() as db:
            return await db.scalar(wanted) == tenant


def tenant_of(principal: Principal | None) -> str:
    """Who shares responses: the members of an organization that a key is of, or a user; "-" where nobody is known."""
    if principal is None:
        return "-"
    if principal.organization_id is not None:
        return f"organization:{principal.organization_id}"
    return f"user:{principal.user_id}"
