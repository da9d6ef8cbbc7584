"""Who may ask about whom: users about themselves and their organisations, administrators about everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from llmgate.errors import Forbidden, NotFound
from llmgate.identity import ADMIN
from llmgate.ledger import Subject

if TYPE_CHECKING:
    from llmgate.exchange import Principal
    from llmgate.identity import Identity, Organisation, User


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose quota is spent or bought for: the organisation's if there is one, else the user's own."""

    user: User
    organisation: Organisation | None = None

    @property
    def subject(self) -> Subject:
        """The payer in the ledger's words."""
        if self.organisation is not None:
            return Subject("organisation", self.organisation.id)
        return Subject("user", self.user.id)


class Access:
    """Turns the ids of a request into what they name, if the caller may name it."""

    def __init__(self, identity: Identity) -> None:
        self._users = identity.users
        self._organisations = identity.organisations

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

    async def organisation(self, caller: Principal, organisation_id: UUID) -> Organisation:
        """The active organisation with this UUID, of which the caller is a member. Raises as `user` does."""
        try:
            organisation = await self._organisations.by_uuid(str(organisation_id))
        except NotFound:
            if ADMIN in caller.roles:
                raise
            raise _no_member() from None
        if ADMIN not in caller.roles:
            mine = await self._organisations.of_user(caller.user_id)
            if organisation.id not in {each.organisation.id for each in mine}:
                raise _no_member()
        if not organisation.is_active:
            raise Forbidden("The organisation is not active.")
        return organisation

    async def payer(self, caller: Principal, user_id: UUID, organisation_id: UUID | None) -> Payer:
        """Who pays. With a key of an organisation that is the organisation, whether the request names it or not.

        Raises as `user` and `organisation` do, and `Forbidden` where the key is of another organisation.
        """
        user = await self.user(caller, user_id)
        if organisation_id is None and caller.organisation_id is None:
            return Payer(user)
        if organisation_id is None:
            assert caller.organisation_id is not None
            return Payer(user, await self._organisations.by_id(caller.organisation_id))
        organisation = await self.organisation(caller, organisation_id)
        if caller.organisation_id not in (None, organisation.id):
            raise Forbidden("This API key is of another organisation.")
        return Payer(user, organisation)


def _not_yours() -> Forbidden:
    return Forbidden("This belongs to another user.")


def _no_member() -> Forbidden:
    return Forbidden("You are not a member of this organisation.")
