"""What is done by the clock: trials that end, deletions that failed, codes that nobody used, secrets of an old key."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING

import sqlalchemy as sa

from llmgate.plugin.api import BadRequest
from llmgate.plugin.kit.mail import MailFailed
from llmgate.plugin.kit.one_time_codes import forget_expired

from .plans import DAY, days_left, plan_of
from .roles import Role
from .sign_in import MAILED_LINK_LASTS
from .tables import notices, secrets
from .teams import WhichTeams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmgate.plugin.kit.audit import AuditLog
    from llmgate.plugin.kit.one_time_codes import OneTimeLinks

    from .metrics import Metrics
    from .parts import Parts
    from .teams import Team

log = logging.getLogger("llmgate.private_ai")

HOUR = 3600.0
NOTICES: Mapping[int, str] = MappingProxyType({7: "team-expiring", 5: "team-expiring", 0: "trial-expired"})
"""What a team on trial is told, with so many days left."""
PAGE = 1000


class Trials:
    """Tells the teams whose trial ends. That their keys end, their keys know themselves."""

    def __init__(self, parts: Parts, links: OneTimeLinks, audit: AuditLog, metrics: Metrics) -> None:
        self._parts = parts
        self._links = links
        self._audit = audit
        self._metrics = metrics

    async def run(self) -> None:
        """Look at every team once."""
        with self._metrics.monitoring_teams():
            await self._look_at_all()

    async def _look_at_all(self) -> None:
        skip = 0
        while page := await self._parts.teams.page(WhichTeams(is_active=True, skip=skip, limit=PAGE)):
            for team in page:
                await self._look_at(team)
            skip += PAGE

    async def _look_at(self, team: Team) -> None:
        store, teams = self._parts.gate.store, self._parts.teams
        async with store.connect() as db:
            standing = await teams.standing(team, db)
        if not standing.on_trial:
            return
        left = days_left(standing, plan_of(teams.defaults, ()), store.clock())
        template = NOTICES.get(left)
        if template is not None and await self._is_due(team.id, template):
            await self._tell(team, template, left)

    async def _is_due(self, team_id: int, kind: str) -> bool:
        query = sa.select(notices.c.sent_at).where(notices.c.team_id == team_id, notices.c.kind == kind)
        async with self._parts.gate.store.connect() as db:
            sent_at = await db.scalar(query)
        return sent_at is None or sent_at <= self._parts.gate.store.clock() - DAY

    async def _tell(self, team: Team, template: str, left: int) -> None:
        store = self._parts.gate.store
        to = await self._first_admin(team)
        token = await self._links.issue(to, lifetime=MAILED_LINK_LASTS)
        try:
            await self._parts.mails.send(template, to, team=team.name, days=left, token=token)
        except (MailFailed, BadRequest) as error:
            log.warning("team %d is not told of its trial, tried again in an hour: %s", team.id, error)
            return
        row = {"team_id": team.id, "kind": template, "sent_at": store.clock()}
        insert = store.insert(notices).values(row)
        async with store.begin() as db:
            await db.execute(insert.on_conflict_do_update(index_elements=["team_id", "kind"], set_=row))
        await self._audit.note(f"mail {template}", "teams", team.id, days_left=left)

    async def _first_admin(self, team: Team) -> str:
        members = await self._parts.people.members(team.id)
        admins = [each.email for each in members if each.role == Role.ADMIN and each.is_active]
        return admins[0] if admins else team.admin_email


class Upkeep:
    """What keeps the store tidy."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def run(self) -> None:
        """Forget codes and links that nobody can use any more."""
        await forget_expired(self._parts.gate.store, secrets)

    async def reseal(self) -> None:
        """Seal with the newest key what an older one has sealed."""
        async with self._parts.gate.store.begin() as db:
            changed = await self._parts.keys.reseal(db) + await self._parts.regions.reseal(db)
        if changed:
            log.info("%d rows are sealed with the newest key now", changed)
