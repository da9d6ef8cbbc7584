"""The operations under /billing: to Stripe for people, from Stripe by events, and webhooks for those who ask."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

from llmgate.plugin.api import AnyOperation, BadRequest, NotFound, Reply, read_body

from ..roles import Action, Reach
from ..shapes import Id, Line, id_in, iso, unfit
from .events import BadSignature, parse, verify
from .webhooks import KNOWN_EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmgate.plugin.api import AnyCall, Call
    from llmgate.plugin.kit.operations import OperationTable

    from ..access import Caller
    from ..parts import Parts
    from ..teams import Team
    from .inbox import StripeInbox
    from .stripe_gateway import NoStripe, StripeGateway
    from .webhooks import Webhook

log = logging.getLogger("llmgate.private_ai")

MAX_EVENT = 1024 * 1024
"""Bytes of an event; Stripe's are some kilobytes."""
MINUTE = 60


class PortalQuery(Struct, frozen=True):
    """Query of `/billing/teams/{id}/portal`."""

    return_url: Line | None = None


class Portal(Struct, frozen=True):
    """Where the customer goes."""

    url: str


class PricingTableSession(Struct, frozen=True):
    """With what a browser shows the plans; `url` is the dashboard's page that does."""

    client_secret: str
    url: str


class NewSubscription(Struct, frozen=True):
    """Body of `POST /billing/teams/{id}/subscriptions`."""

    product_id: Line


class MadeSubscription(Struct, frozen=True):
    """A subscription that costs nothing."""

    subscription_id: str
    product_id: str
    team_id: int
    created_at: str


class NewWebhook(Struct, frozen=True):
    """Body of `POST /billing/webhooks`. A system admin's is told of every team's events, or of those of `team_id`."""

    url: Annotated[str, Meta(max_length=2048, pattern=r"^https?://[^\s/@]+(/\S*)?$")]
    events: Annotated[list[str], Meta(min_length=1, max_length=100)]
    team_id: Id | None = None


class ShownWebhook(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A webhook. Its `secret` is in the answer to the request that made it, and in no other."""

    id: int
    url: str
    events: tuple[str, ...]
    is_active: bool
    created_at: str
    secret: str | None = None

    @classmethod
    def of(cls, webhook: Webhook, secret: str | None = None) -> ShownWebhook:
        """As the API shows it."""
        return cls(
            id=webhook.id,
            url=webhook.url,
            events=webhook.events,
            is_active=webhook.is_active,
            created_at=iso(webhook.created_at),
            secret=secret,
        )


class Received(Struct, frozen=True):
    """What Stripe is told."""

    received: bool = True


class BillingOperations:
    """See the module's text. `wake` has the inbox worked off now; `secret` is that of Stripe's endpoint."""

    def __init__(
        self,
        parts: Parts,
        stripe: StripeGateway | NoStripe,
        inbox: StripeInbox,
        *,
        secret: str,
        wake: Callable[[], object],
    ) -> None:
        self._parts = parts
        self._stripe = stripe
        self._inbox = inbox
        self._secret = secret
        self._wake = wake

    async def go_to_portal(self, call: Call[None, PortalQuery, Caller]) -> Reply:
        """Send the browser to Stripe's portal."""
        url = await self._portal(call)
        return Reply(None, 303, [(b"location", url.encode("ascii"))])

    async def portal(self, call: Call[None, PortalQuery, Caller]) -> Portal:
        """Say where Stripe's portal is."""
        return Portal(await self._portal(call))

    async def pricing_table(self, call: Call[None, None, Caller]) -> PricingTableSession:
        """Let a browser show the plans to this team."""
        customer = await self._customer(await self._team(call))
        secret = await self._stripe.pricing_table_session(customer)
        return PricingTableSession(secret, self._pricing_url())

    async def subscribe(self, call: Call[NewSubscription, None, Caller]) -> MadeSubscription:
        """Give a team a product that costs nothing. That it has it is said by Stripe's event."""
        team, product = await self._team(call), call.body.product_id
        await self._parts.products.by_id(product)
        customer = await self._customer(team)
        if await self._stripe.live(customer):
            raise BadRequest("Team already has an active subscription")
        price = await self._stripe.free_price(product)
        if price is None:
            raise BadRequest(
                "Only products with exactly one active price, which is 0, can be given to a team"
            )
        now = self._parts.gate.store.clock()
        once = f"llmgate-team-{team.id}-{product}-{int(now // MINUTE)}"  # a double submit makes one
        subscription = await self._stripe.subscribe(customer, price, key=once)
        return MadeSubscription(subscription, product, team.id, iso(now))

    async def unsubscribe(self, call: Call[None, None, Caller]) -> Received:
        """End a team's subscriptions to a product. That it has it no more is said by Stripe's event."""
        team, product = await self._team(call), call.path["product_id"]
        if team.stripe_customer_id is None:
            raise BadRequest("Team has not been registered with Stripe")
        ended = [one for one in await self._stripe.live(team.stripe_customer_id) if product in one.products]
        if not ended:
            raise NotFound("Subscription not found")
        for one in ended:
            await self._stripe.cancel(one.id)
        return Received()

    async def take_event(self, call: AnyCall) -> Received:
        """Keep what Stripe says. 404 for what Stripe has not signed: nobody is told that there is something here."""
        raw = await read_body(call.receive, MAX_EVENT)
        try:
            verify(raw, call.header("stripe-signature"), self._secret, now=self._parts.gate.store.clock())
        except BadSignature as error:
            raise NotFound("Not found") from error
        try:
            event = parse(raw)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadRequest("Invalid payload") from error
        if await self._inbox.take(event, raw):
            self._wake()
        return Received()

    async def add_webhook(self, call: Call[NewWebhook, None, Caller]) -> ShownWebhook:
        """Tell a URL of these events from now on."""
        unknown = sorted(set(call.body.events) - KNOWN_EVENTS)
        if unknown:
            known = ", ".join(sorted(KNOWN_EVENTS))
            raise unfit(f"events: there is no {unknown[0]!r} (known: {known})", "events")
        team_id = self._whose(call.access, call.body.team_id)
        events = tuple(dict.fromkeys(call.body.events))
        webhook, secret = await self._parts.webhooks.create(team_id, call.body.url, events)
        return ShownWebhook.of(webhook, secret)

    async def webhooks(self, call: Call[None, None, Caller]) -> list[ShownWebhook]:
        """Those of your team; for system admins all."""
        found = await self._parts.webhooks.all(call.access.team_id, every=_all(call.access))
        return [ShownWebhook.of(one) for one in found]

    async def delete_webhook(self, call: Call[None, None, Caller]) -> None:
        """Tell a URL nothing more."""
        number = id_in(call.path["id"], "Webhook")
        await self._parts.webhooks.delete(number, call.access.team_id, every=_all(call.access))

    def _whose(self, caller: Caller, asked: int | None) -> int | None:
        if _all(caller):
            return asked
        caller.require(Action.MANAGE_TEAM, team_id=caller.team_id if asked is None else asked)
        return caller.team_id

    async def _portal(self, call: Call[None, PortalQuery, Caller]) -> str:
        team = await self._team(call)
        if team.stripe_customer_id is None:
            raise BadRequest("Team has not been registered with Stripe")
        back = call.query.return_url or self._pricing_url()
        return await self._stripe.portal(team.stripe_customer_id, return_url=back)

    async def _team(self, call: Call[object, object, Caller]) -> Team:
        team = await self._parts.teams.by_id(id_in(call.path["id"], "Team"))
        call.access.require(Action.MANAGE_TEAM, team_id=team.id)
        return team

    async def _customer(self, team: Team) -> str:
        """The team's customer at Stripe, made now if there is none."""
        if team.stripe_customer_id is not None:
            return team.stripe_customer_id
        made = await self._stripe.create_customer(team_id=team.id, name=team.name, email=team.admin_email)
        async with self._parts.gate.store.change() as db:
            await self._parts.teams.update(db, team.id, {"stripe_customer_id": made})
        return made

    def _pricing_url(self) -> str:
        return f"{self._parts.settings.dashboard_url}/team-admin/pricing"


def _all(caller: Caller) -> bool:
    return caller.reach(Action.MANAGE_TEAMS) is Reach.ALL


def billing_operations(
    does: BillingOperations, *, public: OperationTable, own: OperationTable, every: OperationTable
) -> Sequence[AnyOperation]:
    """The rows of the API's table: for everybody, for those who manage their team, and who manage every one."""
    own, every = own.but("/billing"), every.but("/billing/teams/{id}")
    team = own.but("/teams/{id}")
    return [
        team("POST /portal", does.go_to_portal, "Go to Stripe's portal.", {303: None}, 404, 500, query=PortalQuery),
        team("GET /portal", does.portal, "Where Stripe's portal is.", Portal, 404, 500, query=PortalQuery),
        team("GET /pricing-table-session", does.pricing_table, "Show the plans.", PricingTableSession, 404, 500),
        every("POST /subscriptions", does.subscribe, "Give a team a free product.", {201: MadeSubscription}, 404, 500,
              body=NewSubscription),
        every("DELETE /subscription/{product_id}", does.unsubscribe, "End a team's subscription.", Received, 404, 500),
        public("POST /billing/events", does.take_event, "What Stripe says.", Received, 400, 404),
        own("POST /webhooks", does.add_webhook, "Be told of events.", {201: ShownWebhook}, body=NewWebhook),
        own("GET /webhooks", does.webhooks, "Who is told of events.", list[ShownWebhook]),
        own("DELETE /webhooks/{id}", does.delete_webhook, "Tell nothing more.", None, 404),
    ]  # fmt: skip
