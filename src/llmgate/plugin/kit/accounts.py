"""Accounts of a surface: registering, logging in and refreshing, in the shapes of its guide.

accounts = Accounts(gate.identity, signed_in=bearer_token, is_open=settings.registration == "open")

async def register(call: Call[Registration]) -> Account:
    return filled(Account, await accounts.register(call))

at("POST /auth/register", register, "Register a user.", {201: Account}, 403, 409, body=Registration)
at("POST /auth/login", accounts.log_in, "Log in for an access token.", Token, 401, body=Credentials)
at("POST /auth/refresh", accounts.refresh, "Get a new access token.", Token, credentials=("bearer",))
at("DELETE /auth/sessions", accounts.log_out_everywhere, "End all of your sessions.", None, 403, session=True, ...)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from msgspec import Meta, Struct

from ..api import Forbidden, Reply, Unauthenticated
from .formats import NO_STORE
from .shapes import masked

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..api import AnyCall, Call, Identity, PasswordRules, Session, User

Registering = Annotated[
    Literal["open", "closed"], Meta(description="closed: accounts are made by `llmgate user add` alone.")
]
"""The type of the setting `registration`, which `llmgate check` warns about."""


class Credentials(Struct, frozen=True):
    """A name and a password, which does not show."""

    username: str
    password: str

    __repr__ = masked("password")


class Token(Struct, frozen=True):
    """An access token."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - its type

    __repr__ = masked("access_token")


def bearer_token(_: User, session: Session) -> Token:
    """What RFC 6749, 5.1 answers to who has logged in; the session's end is in the token itself."""
    return Token(session.token)


class NamedByPassword(Protocol):
    """A body by which somebody registers or logs in; it may have an `email`, too."""

    @property
    def username(self) -> str:
        """The name."""

    @property
    def password(self) -> str:
        """The password."""


class Accounts:
    """`signed_in` makes the answer to who has a new session. The handlers raise as `Users` and `Sessions` do.

    Without `is_open` nobody registers by himself. `first_roles` go to the very first user of the store; `rules` for
    passwords hold besides those of gate.toml.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        signed_in: Callable[[User, Session], object] = bearer_token,
        is_open: bool = True,
        first_roles: Iterable[str] = (),
        rules: PasswordRules | None = None,
    ) -> None:
        self._users = identity.users
        self._sessions = identity.sessions
        self._signed_in = signed_in
        self._is_open = is_open
        self._first_roles = tuple(first_roles)
        self._rules = rules

    def check_open(self) -> None:
        """Raise `Forbidden` where registration is closed; for those that have something else to check first."""
        if not self._is_open:
            raise Forbidden("Registration is closed. Ask an administrator for an account.")

    async def register(
        self,
        call: Call[Any, Any, Any],
        *,
        also: Callable[[AsyncConnection, int], Awaitable[object]] | None = None,
    ) -> User:
        """The new user that the body of `call` describes, a `NamedByPassword`.

        `also` writes what the user must never be without, in the same transaction. Raises `Forbidden` where
        registration is closed, and as `Users.register` does.
        """
        self.check_open()
        wanted: NamedByPassword = call.body
        if self._rules is not None:
            self._rules.check(wanted.password)
        return await self._users.register(
            wanted.username,
            wanted.password,
            email=getattr(wanted, "email", None),
            client=call.client,
            first_roles=self._first_roles,
            also=also,
        )

    async def begin(
        self, user: User, answer: Callable[[User, Session], object] | None = None, *, status: int = 200
    ) -> Reply:
        """A new session of `user`, told as `answer` does, which no cache keeps; without one as `signed_in` does."""
        session = await self._sessions.issue(user)
        return Reply((answer or self._signed_in)(user, session), status, NO_STORE)

    async def log_in(self, call: AnyCall) -> Reply:
        """A session for a name (or e-mail address) and password."""
        wanted: NamedByPassword = call.body
        return await self.begin(
            await self._users.authenticate(wanted.username, wanted.password, client=call.client)
        )

    async def refresh(self, call: AnyCall) -> Reply:
        """A new session for one that still holds, which goes on until it ends by itself."""
        if call.principal.session_id is None:  # a key that is revoked must not live on in a session
            raise Unauthenticated(
                "Only an access token can be refreshed. Log in again.", code="invalid_token"
            )
        session = await self._sessions.refresh(call.principal, keep_old=True)
        user = await self._users.by_id(call.principal.user_id)
        return Reply(self._signed_in(user, session), 200, NO_STORE)

    async def log_out_everywhere(self, call: AnyCall) -> None:
        """End all sessions of the caller, at once and in every worker. Keys stay."""
        await self._sessions.revoke_all(call.principal.user_id)

    async def caller(self, call: AnyCall) -> User:
        """Who calls."""
        return await self._users.by_id(call.principal.user_id)
