"""API tokens: API keys of the gate with the scope `account`, which open this API and no model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from llmgate.plugin.api import Forbidden, NotFound, Reply
from llmgate.plugin.kit.shapes import filled, masked

from .access import NOT_AUTHORIZED
from .shapes import Id, Line, Message, id_in, iso

if TYPE_CHECKING:
    from llmgate.plugin.api import Call, Identity, Key

    from .access import Caller
    from .people import People

SCOPE: Final = "account"
PREFIX = "api-"


class NewToken(Struct, frozen=True):
    """Body of `POST /auth/token`."""

    name: Line
    user_id: Id | None = None


class OfUser(Struct, frozen=True):
    """Query: whose tokens; the caller's own, without one."""

    user_id: Id | None = None


class ShownToken(Struct, frozen=True, kw_only=True):
    """An API token without its secret."""

    id: int
    name: str
    user_id: int
    created_at: str
    last_used_at: str | None

    @classmethod
    def of(cls, key: Key, **rest: Any) -> Any:
        """As the API shows it; a subclass gets what it has besides."""
        return filled(cls, key, time=iso, **rest)


class MadeToken(ShownToken, frozen=True, kw_only=True):
    """A token as it is seen once."""

    token: str

    __repr__ = masked("token")


class Tokens:
    """The operations under /auth/token."""

    def __init__(self, identity: Identity, people: People) -> None:
        self._keys = identity.keys
        self._people = people

    async def create(self, call: Call[NewToken, None, Caller]) -> Reply:
        """A new token; its secret is in this answer and nowhere else."""
        user_id = await self._user(call.access, call.body.user_id)
        key, secret = await self._keys.create(user_id, call.body.name, prefix=PREFIX, scope=SCOPE)
        return Reply(MadeToken.of(key, token=secret), 200)

    async def all(self, call: Call[None, OfUser, Caller]) -> list[ShownToken]:
        """The tokens of the caller, or for system admins of another user."""
        user_id = await self._user(call.access, call.query.user_id)
        return [ShownToken.of(key) for key in await self._keys.of_user(user_id) if key.scope == SCOPE]

    async def delete(self, call: Call[None, None, Caller]) -> Message:
        """End a token of the caller's own, at once."""
        token_id = id_in(call.path["id"], "Token")
        own = {key.id for key in await self._keys.of_user(call.access.id) if key.scope == SCOPE}
        if token_id not in own:
            raise NotFound("Token not found")
        await self._keys.revoke(token_id)
        return Message("Token deleted successfully")

    async def _user(self, caller: Caller, user_id: int | None) -> int:
        if user_id is None or user_id == caller.id:
            return caller.id
        if not caller.person.is_admin:
            raise Forbidden(NOT_AUTHORIZED)
        return (await self._people.by_id(user_id)).id
