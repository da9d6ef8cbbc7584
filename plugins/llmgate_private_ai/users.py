"""The operations under /users."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Any, Literal

import sqlalchemy as sa
from msgspec import Meta, Struct

from llmgate.plugin.api import ADMIN, BadRequest, Conflict, Forbidden, NotFound, Reply, email_of
from llmgate.plugin.kit.mail import MailFailed
from llmgate.plugin.kit.shapes import masked

from .access import NOT_AUTHORIZED
from .people import Which
from .roles import Action, Reach, Role
from .shapes import Id, Message, ShownUser, id_in
from .sign_in import Password
from .tables import keys

if TYPE_CHECKING:
    from llmgate.plugin.api import Call

    from .access import Caller
    from .parts import Parts
    from .people import Person
    from .sign_in import SignIn

log = logging.getLogger("llmgate.private_ai")

ROLES = ", ".join(Role)
NOT_FOUND = "User not found"


class NewUser(Struct, frozen=True):
    """Body of `POST /users`; without a password, the user is invited by mail."""

    email: str
    password: Password | None = None
    team_id: Id | None = None
    role: str | None = None

    __repr__ = masked("password")


class UserChange(Struct, frozen=True):
    """Body of `PUT /users/{id}`."""

    email: str | None = None
    is_admin: bool | None = None
    is_active: bool | None = None


class IntoTeam(Struct, frozen=True):
    """Body of `POST /users/{id}/add-to-team`."""

    team_id: Id


class WithRole(Struct, frozen=True):
    """Body of `POST /users/{id}/role`."""

    role: str


class UserQuery(Struct, frozen=True):
    """Query of `GET /users`."""

    search: str = ""
    role: str | None = None
    team: Id | None = None
    include_inactive: bool = True
    skip: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 1000
    sort_by: Literal["id", "email", "team_name", "role", "is_active"] = "id"
    sort_order: Literal["asc", "desc"] = "asc"


class EmailQuery(Struct, frozen=True):
    """Query of `GET /users/search`."""

    email: Annotated[str, Meta(min_length=1, max_length=254)]


class UserOperations:
    """See the module's text."""

    def __init__(self, parts: Parts, sign_in: SignIn) -> None:
        self._parts = parts
        self._sign_in = sign_in

    async def all(self, call: Call[None, UserQuery, Caller]) -> Reply:
        """Users: all for system admins, the team's for its admins."""
        caller, query = call.access, call.query
        everybody = caller.reach(Action.MANAGE_USERS) is Reach.ALL
        which = Which(
            query.team if everybody else caller.team_id,
            query.search,
            query.role,
            query.include_inactive,
            query.skip,
            query.limit,
            query.sort_by,
            query.sort_order == "desc",
        )
        found, total = await self._parts.people.page(which)
        return Reply([ShownUser.of(each) for each in found], 200, [(b"x-total-count", b"%d" % total)])

    async def search(self, call: Call[None, EmailQuery, Caller]) -> list[ShownUser]:
        """The first few whose address holds a text."""
        return [ShownUser.of(each) for each in await self._parts.people.search(call.query.email)]

    async def create(self, call: Call[NewUser, None, Caller]) -> ShownUser:
        """A new user, in a team if one is named; invited by mail without a password."""
        caller, wanted = call.access, call.body
        team_id = wanted.team_id
        if caller.reach(Action.MANAGE_USERS) is not Reach.ALL and team_id is None:
            team_id = caller.team_id
        if team_id is not None:
            caller.require(Action.MANAGE_USERS, team_id=team_id)
        role = _role(wanted.role or Role.READ_ONLY)

        async def join(db: Any, user_id: int) -> None:
            if team_id is not None:
                await self._parts.teams.join(db, team_id, user_id, role, limited=self._parts.settings.limits)

        address = email_of(wanted.email)
        try:
            user = await self._parts.gate.identity.users.register(
                address, wanted.password, email=address, also=join
            )
        except Conflict as error:
            raise BadRequest("Email already registered", param="email") from error
        person = await self._parts.people.by_id(user.id)
        if wanted.password is None:
            await self._invite(caller, person)
        return ShownUser.of(person)

    async def get(self, call: Call[None, None, Caller]) -> ShownUser:
        """One user."""
        person = await self._visible(call)
        return ShownUser.of(person)

    async def change(self, call: Call[UserChange, None, Caller]) -> ShownUser:
        """Another address; for system admins, whether the user is active and an admin."""
        caller, person, wanted = call.access, await self._visible(call), call.body
        if not caller.person.is_admin and (
            wanted.is_admin not in (None, person.is_admin) or wanted.is_active not in (None, person.is_active)
        ):
            raise Forbidden(NOT_AUTHORIZED)
        if wanted.email is not None and email_of(wanted.email) != person.email:
            await self._sign_in.set_email(person.id, wanted.email)
        if wanted.is_admin is not None and wanted.is_admin != person.is_admin:
            if person.team_id is not None:
                raise BadRequest("Team members cannot be made administrators")
            users = self._parts.gate.identity.users
            await (users.grant if wanted.is_admin else users.revoke)(person.id, ADMIN)
        if wanted.is_active is not None and wanted.is_active != person.is_active:
            await self._parts.gate.identity.users.set_active(person.id, wanted.is_active)
        return ShownUser.of(await self._parts.people.by_id(person.id))

    async def add_to_team(self, call: Call[IntoTeam, None, Caller]) -> ShownUser:
        """Make a user without a team a member of one."""
        caller, person = call.access, await self._person(call)
        caller.require(Action.MANAGE_USERS, team_id=call.body.team_id)
        if person.team_id is not None and person.team_id != caller.team_id and not caller.person.is_admin:
            raise Forbidden(NOT_AUTHORIZED)
        if person.team_id is not None:
            raise BadRequest("User is already a member of another team")
        async with self._parts.gate.store.change() as db:
            await self._parts.teams.join(
                db, call.body.team_id, person.id, Role.READ_ONLY, limited=self._parts.settings.limits
            )
        return ShownUser.of(await self._parts.people.by_id(person.id))

    async def remove_from_team(self, call: Call[None, None, Caller]) -> ShownUser:
        """End a membership; the user and the user's keys stay."""
        person = await self._visible(call)
        if person.team_id is None:
            raise BadRequest("User is not a member of any team")
        async with self._parts.gate.store.change() as db:
            await self._parts.teams.leave(db, person.team_id, person.id)
        return ShownUser.of(await self._parts.people.by_id(person.id))

    async def set_role(self, call: Call[WithRole, None, Caller]) -> ShownUser:
        """Another role in the team."""
        caller, person, role = call.access, await self._person(call), _role(call.body.role)
        if person.is_admin:
            raise BadRequest("System administrators have no role in a team")
        if person.team_id is None or not self._reaches(caller, person):
            raise Forbidden(NOT_AUTHORIZED)
        async with self._parts.gate.store.change() as db:
            if role is not Role.ADMIN:
                await self._parts.teams.keep_an_admin(db, person.team_id, person.id)
            await self._parts.teams.join(db, person.team_id, person.id, role, limited=False)
        return ShownUser.of(await self._parts.people.by_id(person.id))

    async def delete(self, call: Call[None, None, Caller]) -> Message:
        """Delete a user who owns no keys; what was used stays in the books."""
        person = await self._person(call)
        async with self._parts.gate.store.change() as db:
            if await db.scalar(sa.select(keys.c.id).where(keys.c.owner_id == person.id).limit(1)) is not None:
                raise BadRequest("Cannot delete user with associated AI keys")
            if person.team_id is not None:
                await self._parts.teams.leave(db, person.team_id, person.id)
        await self._parts.gate.identity.users.retire(person.id)
        return Message("User deleted successfully")

    async def _visible(self, call: Call[Any, Any, Caller]) -> Person:
        """The user in the path; of another team's members one sees nothing."""
        person = await self._person(call)
        if not self._reaches(call.access, person):
            raise NotFound(NOT_FOUND)
        return person

    def _reaches(self, caller: Caller, person: Person) -> bool:
        if caller.reach(Action.MANAGE_USERS) is Reach.ALL:
            return True
        return person.team_id is not None and person.team_id == caller.team_id

    async def _person(self, call: Call[Any, Any, Caller]) -> Person:
        return await self._parts.people.by_id(id_in(call.path["id"], "User"))

    async def _invite(self, caller: Caller, person: Person) -> None:
        """That no mail can go out takes nothing back: the invited may sign in all the same."""
        try:
            await self._parts.mails.send(
                "invitation",
                person.email,
                inviter=caller.person.email,
                team=person.team_name or "this platform",
                role=person.role or "a user",
            )
        except MailFailed as error:
            log.warning("user %d is not invited by mail: %s", person.id, error)


def _role(text: str) -> Role:
    if text not in set(Role):
        raise BadRequest(f"Invalid role. Must be one of: {ROLES}", param="role")
    return Role(text)
