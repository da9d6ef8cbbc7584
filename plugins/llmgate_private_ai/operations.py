"""The table of the API's operations: which path does what, for whom, and how it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmgate.plugin.api import ANY, FORM, JSON, AnyOperation, Detail, Operation, Reply

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
from .shapes import Message, ShownUser, answers
from .teams import ShownTeam, ShownTeamWithUsers

if TYPE_CHECKING:
    from llmgate.plugin.api import AnyCall, Handler

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


class Table:
    """Writes the operations down."""

    def __init__(self, access: Access, *, prefix: str = "") -> None:
        self._access = access
        self._prefix = prefix

    def public(
        self, method: str, path: str, handler: Handler[Any, Any, Any], summary: str, **rest: Any
    ) -> AnyOperation:
        """An operation that needs no credential."""
        return self._operation(method, path, handler, summary, **rest)

    def any(
        self, method: str, path: str, handler: Handler[Any, Any, Any], summary: str, **rest: Any
    ) -> AnyOperation:
        """An operation for all who are signed in."""
        return self._operation(
            method, path, handler, summary, credentials=CREDENTIALS, access=self._access.caller, **rest
        )

    def may(
        self,
        action: Action,
        method: str,
        path: str,
        handler: Handler[Any, Any, Any],
        summary: str,
        *,
        denied: str = NOT_AUTHORIZED,
        **rest: Any,
    ) -> AnyOperation:
        """An operation for those whose `action` goes anywhere; the others are told `denied`."""
        access = self._access.may(action, denied)
        return self._operation(method, path, handler, summary, credentials=CREDENTIALS, access=access, **rest)

    def _operation(
        self, method: str, path: str, handler: Handler[Any, Any, Any], summary: str, **rest: Any
    ) -> AnyOperation:
        if method != "GET":  # a rule of the guide's may be broken
            rest["answers"] = {**rest["answers"], 400: Detail}
        if "body" in rest or "query" in rest:
            rest["answers"] = {**rest["answers"], 422: Detail}
        if "body" in rest:
            rest = {"media_types": (JSON, ANY), "lenient": True, **rest}
        return Operation(
            method=method,
            path=self._prefix + path,
            handler=handler,
            summary=summary,
            scope=None,  # an LLM token is refused by `access`, with 401
            **{"group": GENERAL, **rest},
        )


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
        *billing_operations(does.billing, table, admin_group=ADMIN),
        *_audit(does.audit, table),
    ]


def _root(at: Table) -> Sequence[AnyOperation]:
    async def health(_: AnyCall) -> dict[str, str]:
        return {"status": "healthy"}

    async def root(_: AnyCall) -> Reply:
        return Reply(None, 307, [(b"location", b"/docs")])

    return [
        at.public("GET", "/health", health, "Whether the API answers.", answers=answers(200, dict[str, str])),
        at.public("GET", "/", root, "The API's documentation.", answers=answers(307, None)),
    ]


def _auth(does: Handlers, at: Table) -> Sequence[AnyOperation]:
    me, both = does.sign_in, {"media_types": (FORM, JSON), "group": AUTH}
    token = answers(200, sign_in.AccessToken, 401, 403)
    optional = {"credentials": CREDENTIALS, "required": False}
    return [
        at.public("POST", "/auth/register", me.register, "Register a user.", body=sign_in.Registration,
                  answers=answers(200, ShownUser), group=SIGN_UP),
        at.public("POST", "/auth/login", me.log_in, "Sign in by password.", body=sign_in.Login,
                  answers=token, **both),
        at.public("POST", "/auth/logout", me.log_out, "Sign out.", answers=answers(200, Message),
                  group=AUTH, **optional),
        at.public("GET", "/auth/validate-jwt", me.follow_link, "Sign in by a mailed link, or stay signed in.",
                  query=sign_in.LinkToken, answers=token, group=AUTH, **optional),
        at.any("GET", "/auth/me", me.me, "Your account.", answers=answers(200, ShownUser)),
        at.any("DELETE", "/auth/sessions", me.end_sessions, "End all of your sessions.", session=True, group=AUTH,
               answers=answers(204, None)),
        at.any("PUT", "/auth/me/update", me.change_me, "Change your address or password.",
               body=sign_in.OwnChange, answers=answers(200, ShownUser)),
        at.any("POST", "/auth/token", does.tokens.create, "Make an API token.", body=tokens.NewToken,
               answers=answers(200, tokens.MadeToken, 404)),
        at.any("GET", "/auth/token", does.tokens.all, "API tokens.", query=tokens.OfUser,
               answers=answers(200, list[tokens.ShownToken], 404)),
        at.any("DELETE", "/auth/token/{id}", does.tokens.delete, "Delete an API token.",
               answers=answers(200, Message, 404)),
    ]  # fmt: skip


def _passwordless(does: Handlers, at: Table) -> Sequence[AnyOperation]:
    both = {"media_types": (JSON, FORM)}
    return [
        at.public("POST", "/auth/validate-email", does.sign_in.send_code, "Have a sign-in code mailed.",
                  body=sign_in.AskedForCode, answers=answers(200, Message, 500), group=SIGN_UP, **both),
        at.public("POST", "/auth/sign-in", does.sign_in.log_in_by_code, "Sign in by a mailed code.",
                  body=sign_in.CodeLogin, answers=answers(200, sign_in.AccessToken, 401, 403), group=AUTH, **both),
    ]  # fmt: skip


def _users(does: users.UserOperations, at: Table) -> Sequence[AnyOperation]:
    may, user = Action.MANAGE_USERS, answers(200, ShownUser, 404)
    return [
        at.may(may, "GET", "/users", does.all, "Users.", query=users.UserQuery,
               answers=answers(200, list[ShownUser])),
        at.may(Action.DELETE_USERS, "GET", "/users/search", does.search, "Users by part of their address.",
               query=users.EmailQuery, answers=answers(200, list[ShownUser]), group=ADMIN),
        at.may(may, "POST", "/users", does.create, "Add or invite a user.", body=users.NewUser,
               answers=answers(201, ShownUser, 402, 404)),
        at.may(may, "GET", "/users/{id}", does.get, "A user.", answers=user),
        at.may(may, "PUT", "/users/{id}", does.change, "Change a user.", body=users.UserChange, answers=user),
        at.may(may, "POST", "/users/{id}/add-to-team", does.add_to_team, "Put a user into a team.",
               body=users.IntoTeam, answers=answers(200, ShownUser, 402, 404)),
        at.may(may, "POST", "/users/{id}/remove-from-team", does.remove_from_team,
               "Take a user out of the team.", answers=user),
        at.may(may, "POST", "/users/{id}/role", does.set_role, "Give a member another role.",
               body=users.WithRole, answers=user),
        at.may(Action.DELETE_USERS, "DELETE", "/users/{id}", does.delete, "Delete a user.",
               answers=answers(200, Message, 404), group=ADMIN),
    ]  # fmt: skip


def _teams(does: team_operations.TeamOperations, at: Table) -> Sequence[AnyOperation]:
    may, every, team = Action.MANAGE_TEAM, Action.MANAGE_TEAMS, answers(200, ShownTeam, 404)
    return [
        at.may(every, "POST", "/teams", does.create, "Make a team.", body=team_operations.NewTeam,
               answers=answers(201, ShownTeam), group=ADMIN),
        at.may(every, "GET", "/teams", does.all, "Teams.", query=team_operations.TeamQuery,
               answers=answers(200, list[ShownTeam]), group=ADMIN),
        at.may(may, "GET", "/teams/{id}", does.get, "A team and its members.",
               answers=answers(200, ShownTeamWithUsers, 404)),
        at.may(may, "PUT", "/teams/{id}", does.change, "Change a team.", body=team_operations.TeamChange,
               answers=team),
        at.may(every, "DELETE", "/teams/{id}", does.delete, "Delete a team.",
               answers=answers(200, Message, 404), group=ADMIN),
        at.may(every, "POST", "/teams/{id}/extend-trial", does.extend_trial, "Begin a team's trial anew.",
               answers=answers(200, Message, 404), group=ADMIN),
        at.may(every, "POST", "/teams/{id}/soft-delete", does.soft_delete, "Suspend a team.", answers=team,
               group=ADMIN),
        at.may(every, "POST", "/teams/{id}/restore", does.restore, "Let a suspended team go on.",
               answers=team, group=ADMIN),
    ]  # fmt: skip


def _regions(does: regions.RegionOperations, at: Table) -> Sequence[AnyOperation]:
    may, region = Action.WRITE_REGIONS, answers(200, ShownToAdmin, 404)
    of_team = "/regions/{id}/teams/{team_id}"
    return [
        at.may(Action.READ_REGIONS, "GET", "/regions", does.all, "Regions that you may use.",
               answers=answers(200, list[ShownRegion])),
        at.may(may, "GET", "/regions/admin", does.all_with_backends, "All regions with their backends.",
               answers=answers(200, list[ShownToAdmin]), group=ADMIN),
        at.may(may, "POST", "/regions", does.create, "Add a region.", body=regions.NewRegion,
               answers=answers(200, ShownToAdmin), group=ADMIN),
        at.may(may, "GET", "/regions/{id}", does.get, "A region.", answers=region, group=ADMIN),
        at.may(may, "PUT", "/regions/{id}", does.change, "Change a region.", body=regions.RegionChange,
               answers=region, group=ADMIN),
        at.may(may, "DELETE", "/regions/{id}", does.delete, "Close a region without keys.",
               answers=answers(200, Message, 404), group=ADMIN),
        at.may(may, "GET", "/regions/{id}/teams", does.teams, "The teams of a dedicated region.",
               answers=answers(200, list[ShownTeam], 404), group=ADMIN),
        at.may(may, "POST", of_team, does.dedicate, "Let a team use a dedicated region.",
               answers=answers(200, Message, 404), group=ADMIN),
        at.may(may, "DELETE", of_team, does.withdraw, "Take a dedicated region from a team.",
               answers=answers(200, Message, 404), group=ADMIN),
    ]  # fmt: skip


def _keys(does: keys.KeyOperations, at: Table) -> Sequence[AnyOperation]:
    base, new = "/private-ai-keys", Action.CREATE_KEYS
    made = (402, 404, 500)
    return [
        at.may(new, "POST", base, does.create, "Make a key: LLM token and vector database.",
               body=keys.NewKey, answers=answers(200, keys.ShownKey, *made)),
        at.may(new, "POST", base + "/token", does.create_token, "Make a key that is an LLM token alone.",
               body=keys.NewKey, answers=answers(200, keys.ShownToken, *made)),
        at.may(new, "POST", base + "/vector-db", does.create_database,
               "Make a key that is a vector database alone.", body=keys.NewKey,
               answers=answers(200, keys.ShownDatabase, *made)),
        at.any("GET", base, does.all, "Your keys.", query=keys.WhichKeys,
               answers=answers(200, list[keys.ShownKey])),
        at.may(Action.SET_BUDGETS, "PUT", base + "/token/extend-token-life", does.extend_by_token,
               "Change life, budget and rate of the key of a token.", body=keys.ExtendByToken,
               answers=answers(200, usage.ShownUsage, 402, 404)),
        at.any("GET", base + "/{id}", does.get, "A key with its terms.",
               answers=answers(200, usage.ShownDetails, 404)),
        at.any("GET", base + "/{id}/usage", does.usage, "What a key has used.",
               answers=answers(200, usage.ShownUsage, 404)),
        at.any("GET", base + "/{id}/spend", does.spend, "What a key has spent.",
               answers=answers(200, usage.ShownSpend, 404)),
        at.may(Action.SET_BUDGETS, "PUT", base + "/{id}/extend-token-life", does.extend,
               "Give a key another life.", body=keys.Extend, answers=answers(200, keys.Extended, 402, 404)),
        at.may(Action.SET_BUDGETS, "PUT", base + "/{id}/budget-period", does.set_period,
               "Give a key's budget another period.", body=keys.Period,
               answers=answers(200, usage.ShownSpend, 404)),
        at.any("DELETE", base + "/{id}", does.delete, "Delete a key and its database.",
               answers=answers(200, Message, 404, 500)),
    ]  # fmt: skip


def _products(does: products.ProductOperations, at: Table) -> Sequence[AnyOperation]:
    read, write = Action.READ_PRODUCTS, Action.WRITE_PRODUCTS
    return [
        at.may(write, "POST", "/products", does.create, "Add a product.", body=Product,
               answers=answers(201, ShownProduct), group=ADMIN),
        at.may(read, "GET", "/products", does.all, "Products.", query=products.OfTeam,
               answers=answers(200, list[ShownProduct])),
        at.may(read, "GET", "/products/{id}", does.get, "A product.", answers=answers(200, ShownProduct, 404)),
        at.may(write, "PUT", "/products/{id}", does.change, "Change a product.",
               body=products.ProductChange, answers=answers(200, ShownProduct, 404), group=ADMIN),
        at.may(write, "DELETE", "/products/{id}", does.delete, "Delete a product.",
               answers=answers(200, Message, 404), group=ADMIN),
        *(
            at.may(write, method, "/pricing-tables", does.set_table, "Show another pricing table.",
                   body=products.NewPricingTable, answers=answers(201, ShownPricingTable), group=ADMIN)
            for method in ("POST", "PUT")
        ),
        at.may(read, "GET", "/pricing-tables", does.table, "The pricing table of your team.",
               answers=answers(200, ShownPricingTable, 404)),
        at.may(write, "GET", "/pricing-tables/list", does.tables, "Pricing tables.",
               answers=answers(200, list[ShownPricingTable]), group=ADMIN),
        at.may(write, "DELETE", "/pricing-tables", does.delete_table, "Show no pricing table.",
               query=products.WhichTable, answers=answers(200, Message, 404), group=ADMIN),
        at.may(write, "POST", "/budgets/region/{region_id}/teams/{team_id}/purchase", does.purchase,
               "Add to a team's pooled budget.", body=products.Purchase,
               answers=answers(201, products.Purchased, 404, 409), group=ADMIN),
    ]  # fmt: skip


def _audit(does: log.AuditOperations, at: Table) -> Sequence[AnyOperation]:
    def admin(path: str, handler: Handler[Any, Any, Any], summary: str, **rest: Any) -> AnyOperation:
        return at.may(
            Action.READ_AUDIT, "GET", path, handler, summary, denied=log.NOT_AUTHORIZED, group=ADMIN, **rest
        )

    return [
        admin("/audit/logs", does.logs, "The audit log.", query=log.LogQuery, answers=answers(200, log.ShownLog)),
        admin("/audit/logs/metadata", does.metadata, "What one may filter it by.",
              answers=answers(200, log.ShownMetadata)),
        admin("/audit", does.page, "A page of the audit log.", query=log.PageQuery,
              answers=answers(200, log.ShownPage)),
    ]  # fmt: skip
