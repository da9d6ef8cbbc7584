"""The operations under /private-ai-keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from msgspec import Meta, Struct

from llmgate.plugin.api import BadRequest, Forbidden, NotFound
from llmgate.plugin.kit.durations import Duration
from llmgate.plugin.kit.shapes import masked

from .access import NOT_AUTHORIZED
from .key_saga import Order
from .keys import PrivateKey, no_key
from .plans import plan_of
from .roles import Action, Reach
from .shapes import MILLION, Id, LimitReached, Line, Message, Money, id_in, iso, unfit

if TYPE_CHECKING:
    from llmgate.plugin.api import Call

    from .access import Caller
    from .key_saga import KeySaga
    from .key_usage import KeyUsage, ShownDetails, ShownSpend, ShownUsage
    from .parts import Parts
    from .people import Person
    from .regions import Region

ShownT = TypeVar("ShownT", bound=Struct)
Written = Annotated[str, Meta(max_length=40)] | int
"""A duration as it comes: `30d`, or a number of days."""


class NewKey(Struct, frozen=True):
    """Body of `POST /private-ai-keys`; for neither an owner nor a team, the key is the caller's."""

    name: Line
    region_id: Id
    owner_id: Id | None = None
    team_id: Id | None = None


class WhichKeys(Struct, frozen=True):
    """Query of `GET /private-ai-keys`."""

    owner_id: Id | None = None
    team_id: Id | None = None


class ExtendByToken(Struct, frozen=True):
    """Body of `PUT /private-ai-keys/token/extend-token-life`; the token does not show."""

    token: Annotated[str, Meta(min_length=1, max_length=512)]
    duration: Written
    max_budget: Money | None = None
    rpm: Annotated[int, Meta(ge=1, le=10**9)] | None = None

    __repr__ = masked("token")


class Extend(Struct, frozen=True):
    """Body of `PUT /private-ai-keys/{id}/extend-token-life`."""

    duration: Written


class Period(Struct, frozen=True):
    """Body of `PUT /private-ai-keys/{id}/budget-period`."""

    budget_duration: Written


class ShownToken(Struct, frozen=True, kw_only=True):
    """A key that is a token alone."""

    id: int
    name: str
    region: str
    region_id: int
    region_label: str | None
    owner_id: int | None
    team_id: int | None
    created_at: str
    litellm_token: str | None
    litellm_api_url: str | None


class ShownDatabase(Struct, frozen=True, kw_only=True):
    """A key that is a database alone."""

    id: int
    name: str
    region: str
    region_id: int
    region_label: str | None
    owner_id: int | None
    team_id: int | None
    created_at: str
    database_name: str | None
    database_host: str | None
    database_port: int | None
    database_username: str | None
    database_password: str | None


class ShownKey(ShownDatabase, frozen=True, kw_only=True):
    """A key; what it has not is null."""

    litellm_token: str | None
    litellm_api_url: str | None


class Extended(Struct, frozen=True):
    """LiteLLM's answer to a changed key."""

    key: str | None
    info: Any


class KeyOperations:
    """See the module's text."""

    def __init__(self, parts: Parts, saga: KeySaga, usage: KeyUsage) -> None:
        self._parts = parts
        self._saga = saga
        self._usage = usage

    async def create(self, call: Call[NewKey, None, Caller]) -> ShownKey:
        """A new key: LLM token and vector database."""
        return self._shown(ShownKey, await self._create(call, token=True, database=True))

    async def create_token(self, call: Call[NewKey, None, Caller]) -> ShownToken:
        """A new key that is an LLM token alone."""
        return self._shown(ShownToken, await self._create(call, token=True, database=False))

    async def create_database(self, call: Call[NewKey, None, Caller]) -> ShownDatabase:
        """A new key that is a vector database alone."""
        return self._shown(ShownDatabase, await self._create(call, token=False, database=True))

    async def all(self, call: Call[None, WhichKeys, Caller]) -> list[ShownKey]:
        """The keys that the caller sees, in full."""
        reach, query = call.access.reach(Action.LIST_KEYS), call.query
        found = await self._parts.keys.seen_by(
            call.access, reach, owner_id=query.owner_id, team_id=query.team_id
        )
        return [self._shown(ShownKey, key) for key in found]

    async def get(self, call: Call[None, None, Caller]) -> ShownDetails:
        """A key with its terms and what it has spent."""
        key = await self._key(call, Action.LIST_KEYS)
        return await self._usage.details(key, self._parts.settings.model_url)

    async def usage(self, call: Call[None, None, Caller]) -> ShownUsage:
        """What a key has spent, asked, and has left; day by day."""
        return await self._usage.usage(await self._key(call, Action.LIST_KEYS))

    async def spend(self, call: Call[None, None, Caller]) -> ShownSpend:
        """What a key has spent in this period."""
        return await self._usage.spend(await self._key(call, Action.LIST_KEYS))

    async def extend_by_token(self, call: Call[ExtendByToken, None, Caller]) -> ShownUsage:
        """Another life, budget and rate for the key of a token."""
        wanted = call.body
        life = Duration.parse(wanted.duration)
        key = await self._parts.keys.by_token(wanted.token)
        if not call.access.may(Action.SET_BUDGETS, key):
            raise no_key()
        if not call.access.person.is_admin:
            await self._check_plan(key, life, wanted.max_budget, wanted.rpm)
        budget = None if wanted.max_budget is None else round(wanted.max_budget * MILLION)
        async with self._parts.gate.store.change() as db:
            await self._parts.terms.change(db, key, life=life, max_budget=budget, rpm=wanted.rpm)
        return await self._usage.usage(await self._parts.keys.by_id(key.id))

    async def extend(self, call: Call[Extend, None, Caller]) -> Extended:
        """Another life for a key, from now on."""
        life, key = Duration.parse(call.body.duration), await self._token_key(call)
        if not call.access.person.is_admin:
            await self._check_plan(key, life, None, None)
        async with self._parts.gate.store.change() as db:
            await self._parts.terms.change(db, key, life=life)
        changed = await self._parts.keys.by_id(key.id)
        return Extended(changed.token, await self._usage.spend(changed))

    async def set_period(self, call: Call[Period, None, Caller]) -> ShownSpend:
        """Another period of the budget, which begins now."""
        duration, key = Duration.parse(call.body.budget_duration), await self._token_key(call)
        if not duration.nominal:
            raise unfit("a period lasts at least a second", "budget_duration")
        async with self._parts.gate.store.change() as db:
            await self._parts.terms.change(db, key, budget_duration=duration)
        return await self._usage.spend(await self._parts.keys.by_id(key.id))

    async def delete(self, call: Call[None, None, Caller]) -> Message:
        """Delete a key and all that is in its database."""
        await self._saga.delete(await self._key(call, Action.DELETE_KEYS))
        return Message("Private AI Key deleted successfully")

    async def _create(self, call: Call[NewKey, None, Caller], *, token: bool, database: bool) -> PrivateKey:
        wanted, caller = call.body, call.access
        if wanted.owner_id is not None and wanted.team_id is not None:
            raise BadRequest("Either owner_id or team_id must be specified, not both")
        if (
            caller.team_id is None
            and not caller.person.is_admin
            and not self._parts.settings.keys_without_team
        ):
            raise Forbidden(NOT_AUTHORIZED)
        owner, team_id = await self._owner(caller, wanted)
        payer = team_id if owner is None else owner.team_id
        region = await self._region(wanted.region_id, payer)
        return await self._saga.create(
            Order(wanted.name, region, token=token, database=database, owner=owner, team_id=team_id)
        )

    async def _owner(self, caller: Caller, wanted: NewKey) -> tuple[Person | None, int | None]:
        """Whom the new key belongs to: a user, or a team."""
        reach = caller.reach(Action.CREATE_KEYS)
        if wanted.team_id is not None:
            if reach is not Reach.ALL and (reach < Reach.SHARED or wanted.team_id != caller.team_id):
                raise Forbidden(NOT_AUTHORIZED)
            team = await self._parts.teams.by_id(wanted.team_id)
            if team.force_user_keys and caller.team_id == team.id:
                return caller.person, None
            return None, team.id
        if wanted.owner_id in (None, caller.id):
            return caller.person, None
        if reach < Reach.TEAM:
            raise Forbidden(NOT_AUTHORIZED)
        assert wanted.owner_id is not None
        try:
            owner = await self._parts.people.by_id(wanted.owner_id)
        except NotFound as error:
            raise NotFound("Owner user not found") from error
        if reach is not Reach.ALL and owner.team_id != caller.team_id:
            raise NotFound("Owner user not found")
        return owner, None

    async def _region(self, region_id: int, team_id: int | None) -> Region:
        """The region, if a team may use it: a dedicated one is for its teams alone."""
        for region in await self._parts.regions.seen_by(team_id):
            if region.id == region_id:
                return region
        raise NotFound("Region not found or inactive")

    async def _key(self, call: Call[Any, Any, Caller], action: Action) -> PrivateKey:
        """The key in the path, for whoever sees it and may do this to it."""
        key = await self._parts.keys.by_id(id_in(call.path["id"], "Private AI Key"))
        if not call.access.may(Action.LIST_KEYS, key):
            raise no_key()
        if not call.access.may(action, key):
            raise Forbidden(NOT_AUTHORIZED)
        return key

    async def _token_key(self, call: Call[Any, Any, Caller]) -> PrivateKey:
        key = await self._key(call, Action.SET_BUDGETS)
        if key.api_key_id is None:
            raise BadRequest("This key has no LLM token")
        return key

    async def _check_plan(
        self, key: PrivateKey, life: Duration, max_budget: float | None, rpm: int | None
    ) -> None:
        """Raise `LimitReached` where a team's admin wants more than the team's plan gives."""
        assert key.payer is not None
        async with self._parts.gate.store.connect() as db:
            team = await self._parts.teams.by_id(key.payer, db)
            standing = await self._parts.teams.standing(team, db)
        plan = plan_of(self._parts.teams.defaults, standing.products)
        for what, wanted, most in (
            ("a life of {} days", life.nominal / 86_400, plan.renewal_days),
            ("a budget of {:g}", max_budget, plan.max_budget),
            ("{} requests per minute", rpm, plan.rpm),
        ):
            if wanted is not None and wanted > most:
                raise LimitReached(f"The plan of this team gives a key at most {what.format(most)}")

    def _shown(self, kind: type[ShownT], key: PrivateKey) -> ShownT:
        values = {
            "database_name": key.database_name,
            "database_host": key.database_host if key.database_name is not None else None,
            "database_port": key.database_port if key.database_name is not None else None,
            "database_username": key.database_username,
            "database_password": key.database_password,
            "litellm_token": key.token,
            "litellm_api_url": self._parts.settings.model_url if key.token is not None else None,
            "id": key.id,
            "name": key.name,
            "region": key.region_name,
            "region_id": key.region_id,
            "region_label": key.region_label,
            "owner_id": key.owner_id,
            "team_id": key.team_id,
            "created_at": iso(key.created_at),
        }
        return kind(**{name: values[name] for name in kind.__struct_fields__})
