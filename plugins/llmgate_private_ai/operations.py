"""The table of the API's operations: which path does what, for whom, and how it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmgate.plugin.api import ANY, FORM, JSON, AnyOperation, Detail, Reply
from llmgate.plugin.kit.operations import OperationTable

from . import audit as log
from . import key_operations as keys
from . import key_usage as usage
from . import product_operations as products
from . import region_operations as regions
from . import sign_in, team_operations, tokens, users
from .access import NOT_AUTHORIZED
from .billing.operations import BillingOperations, billing_operations
from .products import Product, ShownPricingTable, ShownProduct
from .regions import ShownRegion, ShownToAdmin
from .roles import Action
from .shapes import Message, ShownUser
from .teams import ShownTeam, ShownTeamWithUsers

if TYPE_CHECKING:
    from llmgate.plugin.api import AnyCall

    from .access import Access

CREDENTIALS = ("bearer", "cookie")
AUTH, SIGN_UP, ADMIN, GENERAL = "auth", "sign-up", "admin", "general"
"""Groups of limits: what tries credentials, what begins an account, what only system admins do, and the rest."""


@dataclass(frozen=True, slots=True)
class Handlers:
    """What the operations do."""

    sign_in: sign_in.SignIn
    tokens: tokens.Tokens
    users: users.UserOperations
    teams: team_operations.TeamOperations
    regions: regions.RegionOperations
    keys: keys.KeyOperations
    products: products.ProductOperations
    audit: log.AuditOperations
    billing: BillingOperations


FOLLOWS = {"body": (422,), "query": (422,), "POST": (400,), "PUT": (400,), "DELETE": (400,)}
"""What does not fit its type is 422, and a write may break a rule of the guide's: 400."""


class Table:
    """Writes the operations down: for everybody (`public`), who is signed in (`any`), or by the table of roles."""

    def __init__(self, access: Access, *, prefix: str = "") -> None:
        self._access = access
        self.public = OperationTable(
            prefix,
            problem=Detail,
            follows=FOLLOWS,
            group=GENERAL,
            media_types=(JSON, ANY),
            lenient=True,
            scope=None,  # an LLM token is refused by `access`, with 401
        )
        self.any = self.public.but(credentials=CREDENTIALS, access=access.caller)

    def may(self, action: Action, denied: str = NOT_AUTHORIZED) -> OperationTable:
        """For those whose `action` goes anywhere; the others are told `denied`."""
        return self.any.but(access=self._access.may(action, denied))


def operations(does: Handlers, table: Table, *, passwordless: bool) -> list[AnyOperation]:
    """All of the API."""
    return [
        *_root(table),
        *_auth(does, table),
        *(_passwordless(does, table) if passwordless else ()),
        *_users(does.users, table),
        *_teams(does.teams, table),
        *_regions(does.regions, table),
        *_keys(does.keys, table),
        *_products(does.products, table),
        *_billing(does.billing, table),
        *_audit(does.audit, table),
    ]


def _root(at: Table) -> Sequence[AnyOperation]:
    async def health(_: AnyCall) -> dict[str, str]:
        return {"status": "healthy"}

    async def root(_: AnyCall) -> Reply:
        return Reply(None, 307, [(b"location", b"/docs")])

    return [
        at.public("GET /health", health, "Whether the API answers.", dict[str, str]),
        at.public("GET /", root, "The API's documentation.", {307: None}),
    ]


def _auth(does: Handlers, at: Table) -> Sequence[AnyOperation]:
    me, everybody, mine = does.sign_in, at.public.but("/auth", group=AUTH), at.any.but("/auth")
    maybe = everybody.but(credentials=CREDENTIALS, required=False)
    return [
        everybody("POST /register", me.register, "Register a user.", ShownUser, body=sign_in.Registration,
                  group=SIGN_UP),
        everybody("POST /login", me.log_in, "Sign in by password.", sign_in.AccessToken, 401, 403,
                  body=sign_in.Login, media_types=(FORM, JSON)),
        maybe("POST /logout", me.log_out, "Sign out.", Message),
        maybe("GET /validate-jwt", me.follow_link, "Sign in by a mailed link, or stay signed in.",
              sign_in.AccessToken, 401, 403, query=sign_in.LinkToken),
        mine("GET /me", me.me, "Your account.", ShownUser),
        mine("DELETE /sessions", me.end_sessions, "End all of your sessions.", None, session=True, group=AUTH),
        mine("PUT /me/update", me.change_me, "Change your address or password.", ShownUser, body=sign_in.OwnChange),
        mine("POST /token", does.tokens.create, "Make an API token.", tokens.MadeToken, 404, body=tokens.NewToken),
        mine("GET /token", does.tokens.all, "API tokens.", list[tokens.ShownToken], 404, query=tokens.OfUser),
        mine("DELETE /token/{id}", does.tokens.delete, "Delete an API token.", Message, 404),
    ]  # fmt: skip


def _passwordless(does: Handlers, at: Table) -> Sequence[AnyOperation]:
    me, everybody = does.sign_in, at.public.but("/auth", media_types=(JSON, FORM))
    return [
        everybody("POST /validate-email", me.send_code, "Have a sign-in code mailed.", Message, 500,
                  body=sign_in.AskedForCode, group=SIGN_UP),
        everybody("POST /sign-in", me.log_in_by_code, "Sign in by a mailed code.", sign_in.AccessToken, 401, 403,
                  body=sign_in.CodeLogin, group=AUTH),
    ]  # fmt: skip


def _users(does: users.UserOperations, at: Table) -> Sequence[AnyOperation]:
    manage = at.may(Action.MANAGE_USERS).but("/users")
    every = at.may(Action.DELETE_USERS).but("/users", group=ADMIN)
    return [
        manage("GET", does.all, "Users.", list[ShownUser], query=users.UserQuery),
        every("GET /search", does.search, "Users by part of their address.", list[ShownUser], query=users.EmailQuery),
        manage("POST", does.create, "Add or invite a user.", {201: ShownUser}, 402, 404, body=users.NewUser),
        manage("GET /{id}", does.get, "A user.", ShownUser, 404),
        manage("PUT /{id}", does.change, "Change a user.", ShownUser, 404, body=users.UserChange),
        manage("POST /{id}/add-to-team", does.add_to_team, "Put a user into a team.", ShownUser, 402, 404,
               body=users.IntoTeam),
        manage("POST /{id}/remove-from-team", does.remove_from_team, "Take a user out of the team.", ShownUser, 404),
        manage("POST /{id}/role", does.set_role, "Give a member another role.", ShownUser, 404, body=users.WithRole),
        every("DELETE /{id}", does.delete, "Delete a user.", Message, 404),
    ]  # fmt: skip


def _teams(does: team_operations.TeamOperations, at: Table) -> Sequence[AnyOperation]:
    own = at.may(Action.MANAGE_TEAM).but("/teams")
    every = at.may(Action.MANAGE_TEAMS).but("/teams", group=ADMIN)
    return [
        every("POST", does.create, "Make a team.", {201: ShownTeam}, body=team_operations.NewTeam),
        every("GET", does.all, "Teams.", list[ShownTeam], query=team_operations.TeamQuery),
        own("GET /{id}", does.get, "A team and its members.", ShownTeamWithUsers, 404),
        own("PUT /{id}", does.change, "Change a team.", ShownTeam, 404, body=team_operations.TeamChange),
        every("DELETE /{id}", does.delete, "Delete a team.", Message, 404),
        every("POST /{id}/extend-trial", does.extend_trial, "Begin a team's trial anew.", Message, 404),
        every("POST /{id}/soft-delete", does.soft_delete, "Suspend a team.", ShownTeam, 404),
        every("POST /{id}/restore", does.restore, "Let a suspended team go on.", ShownTeam, 404),
    ]


def _regions(does: regions.RegionOperations, at: Table) -> Sequence[AnyOperation]:
    read = at.may(Action.READ_REGIONS).but("/regions")
    write = at.may(Action.WRITE_REGIONS).but("/regions", group=ADMIN)
    return [
        read("GET", does.all, "Regions that you may use.", list[ShownRegion]),
        write("GET /admin", does.all_with_backends, "All regions with their backends.", list[ShownToAdmin]),
        write("POST", does.create, "Add a region.", ShownToAdmin, body=regions.NewRegion),
        write("GET /{id}", does.get, "A region.", ShownToAdmin, 404),
        write("PUT /{id}", does.change, "Change a region.", ShownToAdmin, 404, body=regions.RegionChange),
        write("DELETE /{id}", does.delete, "Close a region without keys.", Message, 404),
        write("GET /{id}/teams", does.teams, "The teams of a dedicated region.", list[ShownTeam], 404),
        write("POST /{id}/teams/{team_id}", does.dedicate, "Let a team use a dedicated region.", Message, 404),
        write("DELETE /{id}/teams/{team_id}", does.withdraw, "Take a dedicated region from a team.", Message, 404),
    ]  # fmt: skip


def _keys(does: keys.KeyOperations, at: Table) -> Sequence[AnyOperation]:
    base = "/private-ai-keys"
    mine, budget = at.any.but(base), at.may(Action.SET_BUDGETS).but(base)
    make, refused = at.may(Action.CREATE_KEYS).but(base, body=keys.NewKey), (402, 404, 500)
    return [
        make("POST", does.create, "Make a key: LLM token and vector database.", keys.ShownKey, *refused),
        make("POST /token", does.create_token, "Make a key that is an LLM token alone.", keys.ShownToken, *refused),
        make("POST /vector-db", does.create_database, "Make a key that is a vector database alone.",
             keys.ShownDatabase, *refused),
        mine("GET", does.all, "Your keys.", list[keys.ShownKey], query=keys.WhichKeys),
        budget("PUT /token/extend-token-life", does.extend_by_token,
               "Change life, budget and rate of the key of a token.", usage.ShownUsage, 402, 404,
               body=keys.ExtendByToken),
        mine("GET /{id}", does.get, "A key with its terms.", usage.ShownDetails, 404),
        mine("GET /{id}/usage", does.usage, "What a key has used.", usage.ShownUsage, 404),
        mine("GET /{id}/spend", does.spend, "What a key has spent.", usage.ShownSpend, 404),
        budget("PUT /{id}/extend-token-life", does.extend, "Give a key another life.", keys.Extended, 402, 404,
               body=keys.Extend),
        budget("PUT /{id}/budget-period", does.set_period, "Give a key's budget another period.",
               usage.ShownSpend, 404, body=keys.Period),
        mine("DELETE /{id}", does.delete, "Delete a key and its database.", Message, 404, 500),
    ]  # fmt: skip


def _products(does: products.ProductOperations, at: Table) -> Sequence[AnyOperation]:
    read, write = at.may(Action.READ_PRODUCTS), at.may(Action.WRITE_PRODUCTS).but(group=ADMIN)
    return [
        write("POST /products", does.create, "Add a product.", {201: ShownProduct}, body=Product),
        read("GET /products", does.all, "Products.", list[ShownProduct], query=products.OfTeam),
        read("GET /products/{id}", does.get, "A product.", ShownProduct, 404),
        write("PUT /products/{id}", does.change, "Change a product.", ShownProduct, 404, body=products.ProductChange),
        write("DELETE /products/{id}", does.delete, "Delete a product.", Message, 404),
        *(
            write(f"{method} /pricing-tables", does.set_table, "Show another pricing table.",
                  {201: ShownPricingTable}, body=products.NewPricingTable)
            for method in ("POST", "PUT")
        ),
        read("GET /pricing-tables", does.table, "The pricing table of your team.", ShownPricingTable, 404),
        write("GET /pricing-tables/list", does.tables, "Pricing tables.", list[ShownPricingTable]),
        write("DELETE /pricing-tables", does.delete_table, "Show no pricing table.", Message, 404,
              query=products.WhichTable),
        write("POST /budgets/region/{region_id}/teams/{team_id}/purchase", does.purchase,
              "Add to a team's pooled budget.", {201: products.Purchased}, 404, 409, body=products.Purchase),
    ]  # fmt: skip


def _billing(does: BillingOperations, at: Table) -> Sequence[AnyOperation]:
    own, every = at.may(Action.MANAGE_TEAM), at.may(Action.MANAGE_TEAMS).but(group=ADMIN)
    return billing_operations(does, public=at.public, own=own, every=every)


def _audit(does: log.AuditOperations, at: Table) -> Sequence[AnyOperation]:
    admin = at.may(Action.READ_AUDIT, denied=log.NOT_AUTHORIZED).but("/audit", group=ADMIN)
    return [
        admin("GET /logs", does.logs, "The audit log.", log.ShownLog, query=log.LogQuery),
        admin("GET /logs/metadata", does.metadata, "What one may filter it by.", log.ShownMetadata),
        admin("GET", does.page, "A page of the audit log.", log.ShownPage, query=log.PageQuery),
    ]
