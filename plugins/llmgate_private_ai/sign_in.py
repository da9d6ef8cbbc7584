"""Signing in: by password, by a code that is mailed, by a link in a mail; and what one may change of oneself."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from llmgate.plugin.api import (
    ADMIN,
    SESSION_COOKIE,
    BadRequest,
    Conflict,
    Cookie,
    Forbidden,
    Reply,
    Unauthenticated,
    email_of,
)
from llmgate.plugin.kit.mail import MailFailed
from llmgate.plugin.kit.shapes import masked

from .access import SUSPENDED
from .people import Which, address_of
from .roles import Role
from .shapes import MailRefused, Message, ShownUser

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import Call, CountOn, Principal
    from llmgate.plugin.kit.one_time_codes import OneTimeCodes, OneTimeLinks

    from .access import Caller
    from .parts import Parts
    from .people import Person

log = logging.getLogger("llmgate.private_ai")

HOUR = 3600.0
LINK_LASTS, MAILED_LINK_LASTS = HOUR, 24 * HOUR
SENT = Message("Validation code has been generated and sent")

Password = Annotated[str, Meta(max_length=4096)]


class Login(Struct, frozen=True):
    """A name (the address) and a password, which does not show."""

    username: str
    password: Password

    __repr__ = masked("password")


class Registration(Struct, frozen=True):
    """An address and a password, which does not show. Whatever else is sent gives no right."""

    email: str
    password: Password

    __repr__ = masked("password")


class AskedForCode(Struct, frozen=True):
    """Where a code shall go."""

    email: str = ""


class CodeLogin(Struct, frozen=True):
    """An address and the code that was mailed there, which does not show."""

    username: str = ""
    verification_code: str = ""

    __repr__ = masked("verification_code")


class OwnChange(Struct, frozen=True):
    """What one may change of oneself; the passwords do not show."""

    email: str | None = None
    current_password: Password | None = None
    new_password: Password | None = None

    __repr__ = masked("current_password", "new_password")


class LinkToken(Struct, frozen=True):
    """The secret of a link."""

    token: str = ""


class AccessToken(Struct, frozen=True):
    """An access token, which does not show."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - its type

    __repr__ = masked("access_token")


class SignIn:
    """The operations under /auth but for API tokens. `count_sign_up`: a request turns out to make a user."""

    def __init__(
        self, parts: Parts, codes: OneTimeCodes, links: OneTimeLinks, *, count_sign_up: CountOn
    ) -> None:
        self._parts = parts
        self._codes = codes
        self._links = links
        self._count_sign_up = count_sign_up

    async def register(self, call: Call[Registration]) -> ShownUser:
        """A new user, in no team."""
        wanted = call.body
        address = address_of(wanted.email)

        async def announce(db: AsyncConnection, user_id: int) -> None:
            await self._parts.webhooks.tell(db, None, "user.registered", id=user_id, email=address)

        return ShownUser.of(await self._register(address, wanted.password, also=announce))

    async def log_in(self, call: Call[Login]) -> Reply:
        """A session for an address and a password."""
        person = await self._parts.people.by_email(call.body.username)
        login = call.body.username if person is None else person.email
        try:
            user = await self._parts.gate.identity.users.authenticate(
                login, call.body.password, client=call.client
            )
        except Unauthenticated as error:
            raise Unauthenticated("Incorrect email or password", code=error.answer_code) from error
        return await self._session(await self._parts.people.by_id(user.id))

    async def send_code(self, call: Call[AskedForCode]) -> Message:
        """Mail a code; the answer does not tell whether the address is known."""
        if not call.body.email:
            raise BadRequest("Email is required", param="email")
        address = address_of(call.body.email)
        person = await self._parts.people.by_email(address)
        template = "new-user-code" if person is None else "returning-user-code"
        code = await self._codes.issue(address)
        try:
            await self._parts.mails.send(
                template, address, code=code, minutes=round(self._parts.settings.code_lifetime / 60)
            )
        except MailFailed as error:
            log.warning("no code can be mailed: %s", error)
            raise MailRefused("Failed to send validation code email") from error
        return SENT

    async def log_in_by_code(self, call: Call[CodeLogin]) -> Reply:
        """A session for a code; the first one makes the user, and a team."""
        wanted = call.body
        if not wanted.username or not wanted.verification_code:
            raise BadRequest("Username and verification code are required")
        try:
            address = address_of(wanted.username)
            good = await self._codes.redeem(address, wanted.verification_code)
        except BadRequest:
            good, address = False, ""
        person = await self._parts.people.by_email(address) if good else None
        if not good or (person is not None and not (person.is_active or person.suspended)):
            raise Unauthenticated("Incorrect email or verification code")
        if person is None:
            await self._count_sign_up(call.scope)
            person = await self._first_sign_in(address)
        return await self._session(person)

    async def log_out(self, call: Call) -> Reply:
        """End the session, if there is one, and delete the cookie."""
        principal = call.exchange.principal
        if principal is not None and principal.session_id is not None:
            await self._parts.gate.identity.sessions.revoke(principal.session_id)
        return Reply(Message("Successfully logged out"), 200, cookies=[self._cookie().cleared])

    async def end_sessions(self, call: Call[None, None, Caller]) -> Reply:
        """End all sessions of the caller, and delete the cookie."""
        await self._parts.gate.identity.sessions.revoke_all(call.principal.user_id)
        return Reply(None, 204, cookies=[self._cookie().cleared])

    async def me(self, call: Call[None, None, Caller]) -> ShownUser:
        """Who calls."""
        return ShownUser.of(call.access.person)

    async def change_me(self, call: Call[OwnChange, None, Caller]) -> ShownUser:
        """Another address or password of one's own, for the present password."""
        wanted, person = call.body, call.access.person
        changes_email = wanted.email is not None and email_of(wanted.email) != person.email
        if changes_email or wanted.new_password is not None:
            await self._prove(person, wanted)
        if changes_email:
            assert wanted.email is not None
            await self.set_email(person.id, wanted.email)
        if wanted.new_password is not None:
            await self._parts.gate.identity.users.set_password(person.id, wanted.new_password)
        return ShownUser.of(await self._parts.people.by_id(person.id))

    async def follow_link(self, call: Call[None, LinkToken]) -> Reply:
        """A session for the secret of a mailed link, or another one for a session that still holds."""
        principal = call.exchange.principal
        if not call.query.token:
            if principal is None or principal.session_id is None:
                raise _bad_token()
            return await self._refreshed(principal)
        redeemed = await self._links.redeem(call.query.token)
        person = None if redeemed is None else await self._parts.people.by_email(redeemed.subject)
        if redeemed is None or person is None or not (person.is_active or person.suspended):
            raise _bad_token()
        if redeemed.expired:
            await self._send_another(person)
            raise Unauthenticated("Token expired. A new validation URL has been sent to your email.")
        return await self._session(person)

    async def set_email(self, user_id: int, email: str) -> None:
        """Another address of a user. Raises `BadRequest` for one that is taken."""
        try:
            await self._parts.gate.identity.users.set_email(user_id, email_of(email))
        except Conflict as error:
            raise BadRequest("Email already registered", param="email") from error

    async def ensure_admin(self, email: str, password: str) -> None:
        """Make the first system admin, unless there is one."""
        _, there = await self._parts.people.page(Which(role="system_admin", limit=1))
        if there:
            return
        try:
            await self._parts.gate.identity.users.register(
                email, password, email=email, roles=[ADMIN], enforce_rules=False
            )
        except Conflict:  # another worker was faster
            return
        log.warning("made the first system admin %s: change its password", email)

    async def _register(self, address: str, password: str | None, **options: Any) -> Person:
        try:
            user = await self._parts.gate.identity.users.register(address, password, email=address, **options)
        except Conflict as error:
            raise BadRequest("Email already registered", param="email") from error
        return await self._parts.people.by_id(user.id)

    async def _first_sign_in(self, address: str) -> Person:
        async def join_team(db: AsyncConnection, user_id: int) -> None:
            team = await self._parts.teams.with_admin_email(address, db)
            if team is None:
                team = await self._parts.teams.create(db, f"Team {address}", address)
            await self._parts.teams.join(db, team.id, user_id, Role.ADMIN, limited=False)

        return await self._register(address, None, also=join_team)

    async def _prove(self, person: Person, wanted: OwnChange) -> None:
        if wanted.current_password is None:
            what = "password" if wanted.new_password is not None else "email"
            raise BadRequest(f"Current password is required to update {what}")
        try:
            await self._parts.gate.identity.users.authenticate(person.email, wanted.current_password)
        except Unauthenticated as error:
            raise BadRequest("Incorrect password") from error

    async def _send_another(self, person: Person) -> None:
        secret = await self._links.issue(person.email, lifetime=LINK_LASTS)
        try:
            await self._parts.mails.send("returning-user-url", person.email, token=secret)
        except MailFailed as error:
            log.warning("no link can be mailed: %s", error)
            raise MailRefused("Failed to send validation URL email") from error

    async def _refreshed(self, principal: Principal) -> Reply:
        person = await self._parts.people.by_id(principal.user_id)
        lifetime = self._lifetime(person)
        session = await self._parts.gate.identity.sessions.refresh(
            principal, lifetime=lifetime, keep_old=True
        )
        return self._reply(session.token, lifetime)

    async def _session(self, person: Person) -> Reply:
        if person.suspended:
            raise Forbidden(SUSPENDED)
        user = await self._parts.gate.identity.users.by_id(person.id)
        lifetime = self._lifetime(person)
        session = await self._parts.gate.identity.sessions.issue(user, lifetime=lifetime)
        return self._reply(session.token, lifetime)

    def _lifetime(self, person: Person) -> float:
        settings = self._parts.settings
        return settings.admin_session_lifetime if person.is_admin else settings.session_lifetime

    def _reply(self, token: str, lifetime: float) -> Reply:
        cookie = replace(self._cookie(), value=token, max_age=int(lifetime))
        return Reply(AccessToken(token), 200, cookies=[cookie])

    def _cookie(self) -> Cookie:
        """The session's cookie without a value; secure exactly where the public address is."""
        settings = self._parts.settings
        secure = settings.public_url.startswith("https:")
        return Cookie(SESSION_COOKIE, "", domain=settings.cookie_domain, secure=secure)


def _bad_token() -> Unauthenticated:
    return Unauthenticated("Could not validate credentials")
