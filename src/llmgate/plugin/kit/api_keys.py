"""API keys of a surface: made, listed and revoked, in the shapes of its guide.

keys = ApiKeys(
    gate.identity,
    terms=lambda call: {"name": call.body.name, "prefix": "my_", "scope": "models"},
    created=lambda _, key, secret: filled(CreatedKey, key, key=secret),
    listed=lambda key: filled(ListedKey, key, key=key.masked),
)
at("POST /api-keys", keys.create, "Make an API key.", {201: CreatedKey}, 403, body=NewKey, session=True)
at("GET /api-keys", keys.all, "Your API keys.", list[ListedKey])
at("DELETE /api-keys/{id}", keys.revoke, "End an API key.", None, 404, session=True)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..api import BadRequest, Key, NotFound, Reply
from .formats import NO_STORE, id_in_path

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..api import AnyCall, Identity

Hold = Callable[["AnyCall", "AsyncConnection", Key], Awaitable[object]]
"""Writes what a new key must never be without, such as a quota, in the transaction that makes it."""


async def caller(call: AnyCall) -> int:
    """The owner of keys where everybody has their own."""
    return call.principal.user_id


class ApiKeys:
    """The keys of the users whom `owner` finds: the caller, if it does not say otherwise.

    `terms` are what `Keys.create` takes: a `name`, and `prefix`, `expires_at`, `scope`, `requests_per_minute`,
    `organization_id` if it may be other than usual. A key that makes keys makes none that can do more. `hold` gives
    the key what it is held to. `created` makes the answer about a new key and its secret, `listed` about one that
    there is. Of one owner there are at `most` so many.
    The handlers raise as `Keys` does.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        terms: Callable[[AnyCall], Mapping[str, Any]],
        created: Callable[[AnyCall, Key, str], object],
        listed: Callable[[Key], object],
        owner: Callable[[AnyCall], Awaitable[int]] = caller,
        hold: Hold | None = None,
        most: int | None = None,
    ) -> None:
        self._keys = identity.keys
        self._terms = terms
        self._created = created
        self._listed = listed
        self._owner = owner
        self._hold = hold
        self._most = most

    async def create(self, call: AnyCall) -> Reply:
        """A new API key; its secret is in this answer and nowhere else."""
        owner, terms = await self._owner(call), self._terms(call)
        if self._most is not None and len(await self._keys.of_user(owner)) >= self._most:
            raise BadRequest(f"Too many API keys: at most {self._most}")

        async def hold(db: AsyncConnection, key: Key, _secret: str) -> None:
            if self._hold is not None:
                await self._hold(call, db, key)

        key, secret = await self._keys.create(owner, **terms, maker=call.principal, also=hold)
        return Reply(self._created(call, key, secret), 201, NO_STORE)

    async def all(self, call: AnyCall) -> list[object]:
        """The keys that are not revoked, oldest first."""
        return [self._listed(key) for key in await self._keys.of_user(await self._owner(call))]

    async def revoke(self, call: AnyCall) -> None:
        """End a key, at once and for good."""
        key = await self._keys.by_id(id_in_path(call, "API key"))
        if key.user_id != await self._owner(call) or key.revoked_at is not None:
            raise NotFound("There is no such API key.")
        await self._keys.revoke(key.id)
