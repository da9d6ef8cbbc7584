"""What a key may spend and ask, and until when: written to the key's row, its quota and its API key at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmgate.plugin.api import Allotment, Subject, Unit, Window
from llmgate.plugin.kit.durations import Duration

from .plans import DAY, Terms, days_left, plan_of, terms_of
from .shapes import unfit

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import Balance, Services

    from .keys import Keys, PrivateKey
    from .regions import Region, Regions
    from .teams import Team, Teams

MONTH = "1mo"
POOL = "pool"
POOL_LASTS = 365 * DAY
"""Seconds after the last purchase."""


class KeyTerms:
    """All of it takes `db`, a `Store.change`: the whole change is there, in every worker, or nothing of it."""

    def __init__(self, gate: Services, keys: Keys, teams: Teams, regions: Regions, *, limited: bool) -> None:
        self._store = gate.store
        self._gate = gate
        self._keys = keys
        self._teams = teams
        self._regions = regions
        self._limited = limited

    def columns(self, terms: Terms) -> dict[str, Any]:
        """Terms as they stand in a key's row, from now on."""
        duration = terms.budget_duration
        return {
            "max_budget": terms.max_budget,
            "budget_duration": None if duration is None else duration.text,
            "budget_started_at": None if duration is None else self._store.clock(),
            "rpm_limit": terms.rpm,
            "expires_at": terms.life.after(self._store.clock()),
        }

    async def give(
        self,
        db: AsyncConnection,
        api_key_id: int,
        terms: Terms,
        *,
        payer: int | None,
        region: Region | None = None,
    ) -> None:
        """Put terms in force for an API key in `region` whose team is `payer`."""
        team = None if payer is None else await self._teams.by_id(payer, db)
        await self._set_end(db, api_key_id, terms.life.after(self._store.clock()), team)
        await self._gate.identity.keys.set_requests_per_minute(api_key_id, terms.rpm, db=db)
        if team is not None and team.budget_type == POOL:
            if region is not None:
                await self.grow_pool(db, team, region, 0)
        elif terms.max_budget is not None and terms.budget_duration is not None:
            await self._set_budget(
                db, api_key_id, terms.max_budget, terms.budget_duration, self._store.clock()
            )

    async def grow_pool(self, db: AsyncConnection, team: Team, region: Region, by: int) -> Balance:
        """Add so many millionths to what a team may spend in a region; all of it lasts a year from the last ones."""
        expires_at = self._store.clock() + POOL_LASTS if by else None
        upstream = region.upstream_in(self._gate.config)
        allotment = Allotment(Unit.MONEY, 0, upstream=upstream, expires_at=expires_at)
        return await self._gate.quotas.grow(db, Subject("organization", team.id), allotment, by)

    async def change(
        self,
        db: AsyncConnection,
        key: PrivateKey,
        *,
        life: Duration | None = None,
        max_budget: int | None = None,
        budget_duration: Duration | None = None,
        rpm: int | None = None,
    ) -> None:
        """Change what is given of a key. Another budget for the same period keeps what was spent in it."""
        assert key.api_key_id is not None, "a database alone has no terms"
        values: dict[str, Any] = {}
        team = None if key.payer is None else await self._teams.by_id(key.payer, db)
        if life is not None:
            values["expires_at"] = life.after(self._store.clock())
            await self._set_end(db, key.api_key_id, values["expires_at"], team)
        if rpm is not None:
            values["rpm_limit"] = rpm
            await self._gate.identity.keys.set_requests_per_minute(key.api_key_id, rpm, db=db)
        if max_budget is not None or budget_duration is not None:
            values |= await self._change_budget(db, key, team, max_budget, budget_duration)
        await self._keys.update(db, key.id, **values)

    async def renew(self, db: AsyncConnection, team: Team) -> None:
        """Begin life, budget and period of all keys of a team anew, by its plan as it is now."""
        standing = await self._teams.standing(team, db)
        plan = plan_of(self._teams.defaults, standing.products)
        terms = terms_of(plan, max(days_left(standing, plan, self._store.clock()), 0))
        for key in await self._keys.of_team(db, team.id):
            if key.api_key_id is not None:
                await self._keys.update(db, key.id, **self.columns(terms))
                await self.give(db, key.api_key_id, terms, payer=team.id)

    async def follow_trial(self, db: AsyncConnection, team: Team) -> None:
        """Let all keys of a team end when its trial or its suspension says so, or else when they do themselves."""
        for key in await self._keys.of_team(db, team.id):
            if key.api_key_id is not None:
                await self._set_end(db, key.api_key_id, key.expires_at, team)

    async def follow_budget_type(self, db: AsyncConnection, team: Team) -> None:
        """Give the keys of a team budgets of their own, or one that they share: nothing until something is bought."""
        await self._gate.quotas.clear(Subject("organization", team.id), Unit.MONEY, db=db)
        for key in await self._keys.of_team(db, team.id):
            if key.api_key_id is None:
                continue
            if team.budget_type == POOL:
                await self._gate.quotas.clear(Subject("key", key.api_key_id), Unit.MONEY, db=db)
                await self.grow_pool(db, team, await self._regions.by_id(key.region_id), 0)
            elif key.max_budget is not None and key.budget_duration is not None:
                duration = Duration.parse(key.budget_duration)
                await self._set_budget(db, key.api_key_id, key.max_budget, duration, self._store.clock())

    async def _set_end(
        self, db: AsyncConnection, api_key_id: int, own: float | None, team: Team | None
    ) -> None:
        ends = [own]
        if team is not None and self._limited:
            ends.append((await self._teams.standing(team, db)).trial_end(self._teams.defaults))
        if team is not None:
            ends.append(team.deleted_at)
        known = [end for end in ends if end is not None]
        await self._gate.identity.keys.set_expiry(api_key_id, min(known) if known else None, db=db)

    async def _change_budget(
        self,
        db: AsyncConnection,
        key: PrivateKey,
        team: Team | None,
        max_budget: int | None,
        budget_duration: Duration | None,
    ) -> dict[str, Any]:
        """The columns that change. Where only the limit does, the period that runs goes on."""
        assert key.api_key_id is not None
        limit = key.max_budget if max_budget is None else max_budget
        written = key.budget_duration if budget_duration is None else budget_duration.text
        if limit is None:
            raise unfit("the key has no budget: give max_budget as well", "max_budget")
        duration = Duration.parse(written or "30d")
        goes_on = budget_duration is None and key.budget_started_at is not None
        begins = key.budget_started_at if goes_on and key.budget_started_at else self._store.clock()
        if team is None or team.budget_type != POOL:
            await self._set_budget(db, key.api_key_id, limit, duration, begins)
        return {"max_budget": limit, "budget_duration": duration.text, "budget_started_at": begins}

    async def _set_budget(
        self, db: AsyncConnection, api_key_id: int, limit: int, duration: Duration, begins: float
    ) -> None:
        window = Window("month") if duration.text == MONTH else Window.of(max(duration.nominal, 1))
        allotment = Allotment(Unit.MONEY, limit, window, anchor=begins)
        await self._gate.quotas.replace(Subject("key", api_key_id), allotment, db=db)
