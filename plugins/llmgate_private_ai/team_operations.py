"""The operations under /teams, and what an extended trial or an ended suspension does to a team's keys."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct, structs

from llmgate.plugin.api import BadRequest, Forbidden, email_of
from llmgate.plugin.kit.mail import MailFailed

from .access import NOT_AUTHORIZED
from .roles import Action
from .shapes import Line, Message, ShownUser, Text, id_in
from .teams import ShownTeam, ShownTeamWithUsers, Team, WhichTeams

if TYPE_CHECKING:
    from llmgate.plugin.api import Call

    from .access import Caller
    from .parts import Parts

log = logging.getLogger("llmgate.private_ai")


class NewTeam(Struct, frozen=True):
    """Body of `POST /teams`."""

    name: Line
    admin_email: str
    phone: Line | None = None
    billing_address: Text | None = None


class TeamChange(Struct, frozen=True):
    """Body of `PUT /teams/{id}`: what is there is changed."""

    name: Line | None = None
    admin_email: str | None = None
    phone: Line | None = None
    billing_address: Text | None = None
    is_active: bool | None = None
    is_always_free: bool | None = None
    budget_type: Literal["periodic", "pool"] | None = None
    force_user_keys: bool | None = None


class TeamQuery(Struct, frozen=True):
    """Query of `GET /teams`."""

    include_deleted: bool = False
    name: str = ""
    admin_email: str = ""
    is_active: bool | None = None
    skip: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 1000


FOR_SYSTEM_ADMINS = ("is_active", "is_always_free", "budget_type", "force_user_keys")


class TeamOperations:
    """See the module's text."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def create(self, call: Call[NewTeam, None, Caller]) -> ShownTeam:
        """A new team without members."""
        wanted = call.body
        async with self._parts.gate.store.change() as db:
            team = await self._parts.teams.create(
                db,
                wanted.name,
                email_of(wanted.admin_email),
                phone=wanted.phone,
                billing_address=wanted.billing_address,
            )
        return ShownTeam.of(team)  # type: ignore[no-any-return]

    async def all(self, call: Call[None, TeamQuery, Caller]) -> list[ShownTeam]:
        """Every team."""
        found = await self._parts.teams.page(WhichTeams(**structs.asdict(call.query)))
        return [ShownTeam.of(team) for team in found]

    async def get(self, call: Call[None, None, Caller]) -> ShownTeamWithUsers:
        """A team and its members."""
        team = await self._managed(call)
        members = [ShownUser.of(each) for each in await self._parts.people.members(team.id)]
        return ShownTeamWithUsers.of(team, users=members)  # type: ignore[no-any-return]

    async def change(self, call: Call[TeamChange, None, Caller]) -> ShownTeam:
        """Change a team; some of it only as a system admin."""
        caller, team = call.access, await self._managed(call)
        wanted = {
            name: value for name, value in structs.asdict(call.body).items()
            if value is not None and value != getattr(team, name)
        }  # fmt: skip
        if not caller.person.is_admin and wanted.keys() & set(FOR_SYSTEM_ADMINS):
            raise Forbidden(NOT_AUTHORIZED)
        if "admin_email" in wanted:
            wanted["admin_email"] = email_of(wanted["admin_email"])
        async with self._parts.gate.store.change() as db:
            changed = await self._parts.teams.update(db, team.id, dict(wanted))
            if "is_always_free" in wanted:
                await self._parts.terms.follow_trial(db, changed)
            if "budget_type" in wanted:
                await self._parts.terms.follow_budget_type(db, changed)
        if wanted.get("is_always_free"):
            await self._mail("always-free", changed)
        return ShownTeam.of(changed)  # type: ignore[no-any-return]

    async def delete(self, call: Call[None, None, Caller]) -> Message:
        """Delete a team without keys."""
        team = await self._team(call)
        async with self._parts.gate.store.change() as db:
            if count := await self._parts.keys.count_in_team(db, team.id):
                raise BadRequest(f"Cannot delete team: it and its members have {count} keys")
            await self._parts.teams.delete(db, team.id)
        return Message("Team deleted successfully")

    async def extend_trial(self, call: Call[None, None, Caller]) -> Message:
        """Begin the trial anew: every key gets the defaults' life, budget and rate."""
        team = await self._team(call)
        async with self._parts.gate.store.change() as db:
            team = await self._parts.teams.update(
                db, team.id, {"last_payment": self._parts.gate.store.clock()}
            )
            await self._parts.terms.renew(db, team)
        await self._mail("trial-extended", team, days=self._parts.teams.defaults.renewal_days)
        return Message("Team trial extended successfully")

    async def soft_delete(self, call: Call[None, None, Caller]) -> ShownTeam:
        """Suspend a team: its members are kept out, its keys are dead; nothing is lost."""
        return await self._suspend(call, deleted=True)

    async def restore(self, call: Call[None, None, Caller]) -> ShownTeam:
        """Let a suspended team go on."""
        return await self._suspend(call, deleted=False)

    async def _suspend(self, call: Call[None, None, Caller], *, deleted: bool) -> ShownTeam:
        team = await self._team(call)
        if deleted is (team.deleted_at is not None):
            raise BadRequest("Team is already deleted" if deleted else "Team is not deleted")
        values = {"is_active": not deleted, "deleted_at": self._parts.gate.store.clock() if deleted else None}
        async with self._parts.gate.store.change() as db:
            team = await self._parts.teams.update(db, team.id, values)
            await self._parts.terms.follow_trial(db, team)
        return ShownTeam.of(team)  # type: ignore[no-any-return]

    async def _managed(self, call: Call[Any, Any, Caller]) -> Team:
        team_id = id_in(call.path["id"], "Team")
        call.access.require(Action.MANAGE_TEAM, team_id=team_id)
        return await self._parts.teams.by_id(team_id)

    async def _team(self, call: Call[Any, Any, Caller]) -> Team:
        return await self._parts.teams.by_id(id_in(call.path["id"], "Team"))

    async def _mail(self, template: str, team: Team, **values: object) -> None:
        try:
            await self._parts.mails.send(template, team.admin_email, team=team.name, **values)
        except MailFailed as error:
            log.warning("team %d is not told: %s", team.id, error)
