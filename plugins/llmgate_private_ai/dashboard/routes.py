"""The pages of the dashboard as Starlette routes.

A page is one template: its title, and the name of the script in `static/pages` that fills it. The scripts ask the API
below `/api` of the same origin with the session's cookie, which no script can read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Message, Receive, Scope, Send

HERE = Path(__file__).parent
STRIPE = "https://js.stripe.com"


@dataclass(frozen=True, slots=True)
class Page:
    """One page: where it is, what it is called, which script fills it, and whether it is for those signed out."""

    path: str
    title: str
    module: str
    public: bool = False


PAGES = (
    Page("/", "Dashboard", "home"),
    Page("/auth/login", "Sign in", "login", public=True),
    Page("/auth/register", "Register", "register", public=True),
    Page("/upgrade", "Your plan", "upgrade", public=True),
    Page("/auth/token", "API Tokens", "tokens"),
    Page("/account", "Account", "account"),
    Page("/private-ai-keys", "Private AI Keys", "keys"),
    Page("/private-ai-keys/{id:int}", "Private AI Key", "key"),
    Page("/team-admin/users", "Users", "team_users"),
    Page("/team-admin/private-ai-keys", "Team Keys", "team_keys"),
    Page("/team-admin/pricing", "Pricing", "team_pricing"),
    Page("/admin/teams", "Teams", "admin_teams"),
    Page("/admin/users", "All Users", "admin_users"),
    Page("/admin/regions", "Regions", "admin_regions"),
    Page("/admin/products", "Products", "admin_products"),
    Page("/admin/private-ai-keys", "All Keys", "admin_keys"),
    Page("/admin/audit-logs", "Audit Logs", "admin_audit"),
)


@dataclass(frozen=True, slots=True)
class DashboardSettings:
    """What the pages have to know. `api_url` is the API's public address; empty: `/api` of the same origin."""

    passwordless: bool
    stripe_publishable_key: str = ""
    api_url: str = ""


def dashboard_routes(settings: DashboardSettings) -> list[BaseRoute]:
    """Pages, static files and `GET /api/config`, to be mounted at the root of an address of their own."""
    templates = Jinja2Templates(HERE / "templates")
    headers = security_headers(stripe=bool(settings.stripe_publishable_key))

    def handler(page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def show(request: Request) -> Response:
            return templates.TemplateResponse(request, "page.html", {"page": page}, headers=headers)

        return show

    async def config(_: Request) -> Response:
        public = {
            "NEXT_PUBLIC_API_URL": settings.api_url,
            "PASSWORDLESS_SIGN_IN": settings.passwordless,
            "STRIPE_PUBLISHABLE_KEY": settings.stripe_publishable_key,
        }
        return JSONResponse(public, headers={"Cache-Control": "no-store"})

    return [
        *(Route(page.path, handler(page), name=page.module) for page in PAGES),
        Route("/api/config", config),
        Mount("/static", _Revalidated(directory=HERE / "static"), name="static"),
    ]


def security_headers(*, stripe: bool) -> dict[str, str]:
    """Headers of every page: scripts and requests of this origin alone, and of Stripe's where its plans are shown."""
    scripts, frames = ("'self'", "'none'") if not stripe else (f"'self' {STRIPE}", STRIPE)
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src 'self'; img-src 'self'; connect-src 'self'; "
        f"frame-src {frames}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


class _Revalidated(StaticFiles):
    """Files that browsers keep, and ask about: a new version of the gate shows at once."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def revalidated(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(b"cache-control", b"no-cache"), (b"x-content-type-options", b"nosniff")]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await super().__call__(scope, receive, revalidated)
