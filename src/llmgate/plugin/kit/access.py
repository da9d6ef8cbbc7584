"""Who may ask about whom: users about themselves and their organizations, administrators about everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from ..api import ADMIN, Forbidden, NotFound, Subject

if TYPE_CHECKING:
    from ..api import AnyCall, Identity, Organization, Principal, User


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose quota is spent or bought for: the organization's if there is one, else the user's own."""

    user: User
    organization: Organization | None = None

    @property
    def subject(self) -> Subject:
        """The payer in the ledger's words."""
        if self.organization is not None:
            return Subject("organization", self.organization.id)
        return Subject("user", self.user.id)


class Access:
    """Turns the ids of a request into what they name, if the caller may name it."""

    def __init__(self, identity: Identity) -> None:
        self._users = identity.users
        self._organizations = identity.organizations

    async def user(self, caller: Principal, user_id: UUID) -> User:
        """The user with this UUID. Raises `Forbidden` for somebody else's, `NotFound` to administrators only."""
        try:
            user = await self._users.by_uuid(str(user_id))
        except NotFound:
            if ADMIN in caller.roles:
                raise
            raise _not_yours() from None
        if user.id != caller.user_id and ADMIN not in caller.roles:
            raise _not_yours()
        return user

    async def organization(self, caller: Principal, organization_id: UUID) -> Organization:
        """The active organization with this UUID, of which the caller is a member. Raises as `user` does."""
        try:
            organization = await self._organizations.by_uuid(str(organization_id))
        except NotFound:
            if ADMIN in caller.roles:
                raise
            raise _no_member() from None
        if ADMIN not in caller.roles:
            mine = await self._organizations.of_user(caller.user_id)
            if organization.id not in {each.organization.id for each in mine}:
                raise _no_member()
        if not organization.is_active:
            raise Forbidden("The organization is not active.")
        return organization

    async def payer(self, caller: Principal, user_id: UUID, organization_id: UUID | None) -> Payer:
        """Who pays. With a key of an organization that is the organization, whether the request names it or not.

        Raises as `user` and `organization` do, and `Forbidden` where the key is of another organization.
        """
        user = await self.user(caller, user_id)
        if organization_id is None and caller.organization_id is None:
            return Payer(user)
        if organization_id is None:
            assert caller.organization_id is not None
            return Payer(user, await self._organizations.by_id(caller.organization_id))
        organization = await self.organization(caller, organization_id)
        if caller.organization_id not in (None, organization.id):
            raise Forbidden("This API key is of another organization.")
        return Payer(user, organization)


class TeamRole:
    """An operation's `access`: for members of the organization in the path who have one of `roles` there.

    `parameter` is what the path calls the organization's id (an integer) or UUID. Administrators of the gate may
    always. Returns the `Organization`. Raises `NotFound` for one that the caller is no member of, as if there were
    none, and `Forbidden` for a member without the role.
    """

    def __init__(self, identity: Identity, *roles: str, parameter: str = "id") -> None:
        self._organizations = identity.organizations
        self._roles = roles
        self._parameter = parameter
        self.__doc__ = f"Needs the role {' or '.join(f'`{role}`' for role in roles)} in the team."

    async def __call__(self, call: AnyCall) -> Organization:
        """See `Access` of `llmgate.plugin.api`."""
        named, caller = call.path[self._parameter], call.principal
        for membership in await self._organizations.of_user(caller.user_id):
            if named in (str(membership.organization.id), membership.organization.uuid):
                if membership.role in self._roles or ADMIN in caller.roles:
                    return membership.organization
                raise Forbidden(f"This needs the role {' or '.join(self._roles)} in the team.")
        if ADMIN in caller.roles:
            by_id = named.isascii() and named.isdigit() and len(named) < 19
            find = self._organizations.by_id(int(named)) if by_id else self._organizations.by_uuid(named)
            return await find
        raise NotFound("There is no such team.")


def _not_yours() -> Forbidden:
    return Forbidden("This belongs to another user.")


def _no_member() -> Forbidden:
    return Forbidden("You are not a member of this organization.")
