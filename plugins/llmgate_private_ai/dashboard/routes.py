"""The pages of the dashboard as Starlette routes.

A page is one template: its title, and the name of the script in `static/pages` that fills it. The scripts ask the API
below `/api` of the same origin with the session's cookie, which no script can read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from llmgate.plugin.api import SESSION_COOKIE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Message, Receive, Scope, Send

HERE = Path(__file__).parent
STRIPE = "https://js.stripe.com"


@dataclass(frozen=True, slots=True)
class Page:
    """One page: where it is, what it is called, which script fills it, what it is for, whether all see it."""

    path: str
    title: str
    module: str
    lead: str = ""
    public: bool = False


PAGES = (
    Page("/", "Dashboard", "home"),
    Page("/auth/login", "Sign in", "login", public=True),
    Page("/auth/register", "Register", "register", public=True),
    Page("/upgrade", "Your plan", "upgrade", public=True),
    Page("/auth/token", "API Tokens", "tokens", "For programs that use this API in your name."),
    Page("/account", "Account", "account", "Your address, your password, and the way out."),
    Page("/private-ai-keys", "Private AI Keys", "keys", "Each opens models, a vector database, or both."),
    Page("/private-ai-keys/{id:int}", "Private AI Key", "key"),
    Page("/team-admin/users", "Users", "team_users", "The members of your team and what each may do."),
    Page(
        "/team-admin/private-ai-keys", "Team Keys", "team_keys", "The keys of your team and of its members."
    ),
    Page("/team-admin/pricing", "Pricing", "team_pricing", "Your plan, and what it allows."),
    Page("/admin/teams", "Teams", "admin_teams", "Who uses this system, and on which terms."),
    Page("/admin/users", "All Users", "admin_users", "Everybody who may sign in."),
    Page("/admin/regions", "Regions", "admin_regions", "Where models and vector databases are."),
    Page("/admin/products", "Products", "admin_products", "What a subscription allows a team."),
    Page("/admin/private-ai-keys", "All Keys", "admin_keys", "Every key of every team."),
    Page(
        "/admin/audit-logs", "Audit Logs", "admin_audit", "Every request of the API, refused ones included."
    ),
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
            if not page.public and SESSION_COOKIE not in request.cookies:
                return RedirectResponse(_log_in(request.url.path), 303, headers=headers)
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


def _log_in(path: str) -> str:
    return "/auth/login" if path == "/" else f"/auth/login?next={quote(path, safe='')}"


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
