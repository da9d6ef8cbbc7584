"""The caller of an operation, and what the table of roles lets the caller do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from llmgate.plugin.api import Forbidden, Unauthenticated

from .metrics import ANONYMOUS
from .roles import Action, Reach, reach_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from llmgate.plugin.api import AnyCall

    from .metrics import Metrics
    from .people import People, Person

SUSPENDED = "Your organization has been suspended. Please contact support."
NOT_AUTHORIZED = "Not authorized to perform this action"


class Owned(Protocol):
    """What belongs to a user (`owner_id`, who may be in a team: `owner_team_id`) or to a team (`team_id`)."""

    @property
    def owner_id(self) -> int | None:
        """The user."""

    @property
    def team_id(self) -> int | None:
        """The team."""

    @property
    def owner_team_id(self) -> int | None:
        """The user's team."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls."""

    person: Person

    @property
    def id(self) -> int:
        """The user's."""
        return self.person.id

    @property
    def team_id(self) -> int | None:
        """The team that the caller is in, if any."""
        return self.person.team_id

    def reach(self, action: Action) -> Reach:
        """How far the caller's `action` goes."""
        return reach_of(self.person.rank, action)

    def require(self, action: Action, *, team_id: int | None = None) -> Reach:
        """The same. Raises `Forbidden` if it goes nowhere, or not to the team `team_id`."""
        reach = self.reach(action)
        if reach is Reach.NONE or (team_id is not None and reach < Reach.ALL and team_id != self.team_id):
            raise Forbidden(NOT_AUTHORIZED)
        return reach

    def may(self, action: Action, thing: Owned) -> bool:
        """Whether the caller's `action` reaches `thing`."""
        reach = self.reach(action)
        if reach is Reach.ALL:
            return True
        if thing.team_id is not None:
            return reach >= Reach.SHARED and thing.team_id == self.team_id
        if thing.owner_id == self.id:
            return reach >= Reach.OWN
        return reach >= Reach.TEAM and self.team_id is not None and thing.owner_team_id == self.team_id


class Access:
    """Finds out who calls, before the body of the request is read."""

    def __init__(self, people: People, metrics: Metrics) -> None:
        self._people = people
        self._metrics = metrics

    async def caller(self, call: AnyCall) -> Caller:
        """The caller of an operation that wants a credential.

        Raises `Unauthenticated` for an LLM token, `Forbidden` for members of a suspended team.
        """
        if call.principal.scope == "models":  # an LLM token lies in the settings of web sites
            self._metrics.asked(call.scope, ANONYMOUS)
            raise Unauthenticated("Could not validate credentials")
        person = await self._people.by_id(call.principal.user_id)
        self._metrics.asked(call.scope, person.rank.name.lower())
        if person.suspended:
            raise Forbidden(SUSPENDED)
        return Caller(person)

    def may(self, action: Action, denied: str = NOT_AUTHORIZED) -> Callable[[AnyCall], Awaitable[Caller]]:
        """The same for those alone whose `action` goes anywhere: others are refused with `Forbidden`."""

        async def caller(call: AnyCall) -> Caller:
            found = await self.caller(call)
            if found.reach(action) is Reach.NONE:
                raise Forbidden(denied)
            return found

        return caller
