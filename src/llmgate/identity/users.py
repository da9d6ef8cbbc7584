"""Users: who they are, how they prove it by password, and their roles."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..errors import BadRequest, Conflict, NotFound, Unauthenticated
from ..store.schema import api_keys, memberships, sessions, usage, user_roles, users
from .login_limits import LoginLimits
from .passwords import NO_RULES
from .validation import email_of, name_of, username_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..store import Store
    from .passwords import Passwords

ADMIN = "admin"
"""The role of those who may administer the whole gate."""

MAX_LOGIN_LENGTH = 64
"""Characters of what is no name that are remembered among the failures."""

MAX_PAGE = 1000
"""Users in one page of a search."""


@dataclass(frozen=True, slots=True)
class User:
    """A user as stored. Times are seconds since the epoch."""

    id: int
    uuid: str
    username: str
    email: str | None
    is_active: bool
    created_at: float
    updated_at: float
    roles: frozenset[str]
    retired_at: float | None = None

    @property
    def is_admin(self) -> bool:
        """Whether this user may administer the whole gate."""
        return ADMIN in self.roles


_USERS: sa.Select[Any] = sa.select(
    *users.c["id", "uuid", "username", "email", "is_active", "created_at", "updated_at", "retired_at"]
)
_PEOPLE = users.c.service_of.is_(None) & users.c.retired_at.is_(None)
_CREDENTIALS: sa.Select[Any] = sa.select(*users.c["id", "password_hash"])


class Users:
    """The users in `store`. Everything that changes one is seen at once by what the hot path remembers."""

    def __init__(
        self,
        store: Store,
        passwords: Passwords,
        *,
        new_id: Callable[[], object] = uuid.uuid4,
        limits: LoginLimits | None = None,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._new_id = new_id
        self._limits = limits or LoginLimits(store)

    async def register(
        self,
        username: str,
        password: str | None,
        *,
        email: str | None = None,
        roles: Iterable[str] = (),
        first_roles: Iterable[str] = (),
        enforce_rules: bool = True,
        client: str | None = None,
        also: Callable[[AsyncConnection, int], Awaitable[object]] | None = None,
    ) -> User:
        """A new user; without a password one who signs in by other means.

        `first_roles` go to the very first user of the store besides, to exactly one whoever comes at once.
        With `enforce_rules` False the password may break those for passwords: a first one that an operator has
        written down, to be replaced.
        `also` writes what this user must never be without, a quota for example, in the same transaction;
        it gets the user's id. `client` is the address that asks; see `authenticate`.

        A username with an @ is that user's e-mail address as well, so that nobody can take another's
        address for a name. Raises `BadRequest` for a name, address or password that breaks the rules,
        `Conflict` if the name or the address is taken.
        """
        username = username_of(username)
        email = _email(username, email)
        granted = {name_of("role", role) for role in roles}
        for_first = {name_of("role", role) for role in first_roles}
        hashed = await self._hash(password, client or "", enforce_rules=enforce_rules)
        now = self._store.clock()
        row = {
            "uuid": str(self._new_id()),
            "username": username,
            "email": email,
            "password_hash": hashed,
            "is_active": True,
            "created_at": now,
            "updated_at": now,
        }
        async with self._store.begin() as conn:
            insert = self._store.insert(users).values(row).on_conflict_do_nothing()
            user_id = await conn.scalar(insert.returning(users.c.id))
            if user_id is None:
                raise await _taken(conn, username, email)
            if for_first and await self._is_first(conn, user_id):
                granted |= for_first
            if granted:
                await conn.execute(
                    user_roles.insert(), [{"user_id": user_id, "role": role} for role in granted]
                )
            if also is not None:
                await also(conn, user_id)
            return await _one(conn, users.c.id == user_id)

    async def authenticate(self, login: str, password: str, *, client: str | None = None) -> User:
        """The active user with this name or e-mail address and password.

        `client` is the address that asks: clients wait for their turns fairly, and each may fail a number of
        times. Raises `Unauthenticated`, after the same time and in the same words whatever was wrong, `RateLimited`
        after too many failures of the address or the account, and `Unavailable` where too many log in at once.
        """
        account = _canonical(login) or login[:MAX_LOGIN_LENGTH]
        await self._limits.check(account, client)
        async with self._passwords.turn(client or account):
            await self._limits.check(
                account, client
            )  # of those who waited together, the first may have used it up
            try:
                user, stored = await self._authenticate(login, password)
            except Unauthenticated:
                await self._limits.failed(account, client)
                raise
        await self._limits.succeeded(account, client)
        if self._passwords.outdated(stored):
            await self._rehash(user, stored, password)
        return user

    async def _authenticate(self, login: str, password: str) -> tuple[User, str]:
        async with self._store.connect() as conn:
            found = (await conn.execute(_CREDENTIALS.where(_login(login)))).first()
        stored = None if found is None else found.password_hash
        good = await self._passwords.verify_now(stored, password)
        if found is None or stored is None or not good:
            raise _bad_login()
        async with self._store.connect() as conn:
            user = await _one(conn, users.c.id == found.id)
        if not user.is_active:
            raise _bad_login()
        return user, stored

    async def by_id(self, user_id: int) -> User:
        """The user with this id. Raises `NotFound`."""
        return await self._find(users.c.id == user_id)

    async def by_uuid(self, uuid: str) -> User:
        """The user with this UUID. Raises `NotFound`."""
        return await self._find(users.c.uuid == uuid)

    async def by_username(self, username: str) -> User:
        """The user of this name. Raises `NotFound`."""
        return await self._find(_spelled(users.c.username, username))

    async def by_email(self, email: str) -> User:
        """The user with this e-mail address, in whatever case. Raises `NotFound`."""
        return await self._find(_spelled(users.c.email, email))

    async def search(self, text: str = "", *, limit: int = 100, offset: int = 0) -> list[User]:
        """Users whose name or address holds `text` (all of them, for none), oldest first.

        Letters match in either case. Raises `BadRequest` unless 1 <= limit <= 1000 and offset >= 0.
        """
        if not 1 <= limit <= MAX_PAGE or offset < 0:
            raise BadRequest(f"limit must be between 1 and {MAX_PAGE}, offset not negative.")
        query = _USERS.where(_PEOPLE).order_by(users.c.id).limit(limit).offset(offset)
        if text:
            text = text.lower()
            query = query.where(
                users.c.username.icontains(text, autoescape=True)
                | users.c.email.icontains(text, autoescape=True)
            )
        async with self._store.connect() as conn:
            return await _with_roles(conn, (await conn.execute(query)).all())

    async def set_password(self, user_id: int, password: str | None) -> None:
        """Set or (None) remove the password, and end every session of the user.

        Raises `BadRequest` if it breaks the rules, `NotFound` if there is no such user.
        """
        hashed = await self._hash(password)
        async with self._store.change() as conn:
            await self._update(conn, user_id, password_hash=hashed)
            await self._end_sessions(conn, user_id)

    async def set_email(self, user_id: int, email: str | None) -> User:
        """Change or (None) remove the address; a username that is the address changes with it.

        Raises `BadRequest` for what is no address, or where the name is one and none is given, `Conflict` if it
        is taken, `NotFound`.
        """
        address = None if email is None else email_of(email)
        async with self._store.change() as conn:
            named = "@" in (await _one(conn, _PEOPLE & (users.c.id == user_id))).username
            if named and address is None:
                raise BadRequest("The username is the address, so there must be one.", param="email")
            await self._store.serialize(conn, "addresses")
            if address is not None and await conn.scalar(
                sa.select(users.c.id).where(users.c.email == address, users.c.id != user_id)
            ):
                raise Conflict("The email is taken.", param="email")
            await self._update(conn, user_id, email=address, **({"username": address} if named else {}))
            return await _one(conn, users.c.id == user_id)

    async def retire(self, user_id: int) -> None:
        """Take the user away whose usage must stay: roles, keys, sessions and memberships end for good.

        The name and the address are free again; the row stays, for the records, under a name that says nothing.
        Raises `NotFound`.
        """
        now = self._store.clock()
        async with self._store.change() as conn:
            user = await _one(conn, _PEOPLE & (users.c.id == user_id))
            await self._update(
                conn,
                user_id,
                username=f"retired-{user.uuid}",
                email=None,
                password_hash=None,
                is_active=False,
                retired_at=now,
            )
            await self._end_sessions(conn, user_id)
            keys = api_keys.update().where(api_keys.c.user_id == user_id, api_keys.c.revoked_at.is_(None))
            await conn.execute(keys.values(revoked_at=now))
            for table in (user_roles, memberships):
                await conn.execute(table.delete().where(table.c.user_id == user_id))

    async def set_active(self, user_id: int, active: bool) -> None:
        """Let the user in, or (False) keep out the user, the keys and, for good, the sessions that are open.

        Raises `NotFound`.
        """
        async with self._store.change() as conn:
            await self._update(conn, user_id, is_active=active)
            if not active:
                await self._end_sessions(conn, user_id)

    async def grant(self, user_id: int, role: str) -> None:
        """Give the user a role; nothing happens if it is there. Raises `BadRequest`, `NotFound`."""
        role = name_of("role", role)
        async with self._store.change() as conn:
            await self._update(conn, user_id)
            row = {"user_id": user_id, "role": role}
            await conn.execute(self._store.insert(user_roles).values(row).on_conflict_do_nothing())

    async def revoke(self, user_id: int, role: str) -> None:
        """Take a role from the user; nothing happens if it is not there. Raises `NotFound`."""
        async with self._store.change() as conn:
            await self._update(conn, user_id)
            await conn.execute(
                user_roles.delete().where(user_roles.c.user_id == user_id, user_roles.c.role == role)
            )

    async def delete(self, user_id: int) -> None:
        """Delete the user with all keys, sessions and memberships.

        Raises `NotFound`, and `Conflict` where usage is recorded, as the ledger needs the user: deactivate.
        """
        async with self._store.change() as conn:
            if await conn.scalar(sa.select(usage.c.request_id).where(usage.c.user_id == user_id).limit(1)):
                raise Conflict("The user has recorded usage and can only be deactivated.")
            if not (await conn.execute(users.delete().where(users.c.id == user_id))).rowcount:
                raise NotFound("There is no such user.")

    async def _find(self, where: sa.ColumnElement[bool]) -> User:
        async with self._store.connect() as conn:
            return await _one(conn, where)

    async def _is_first(self, conn: AsyncConnection, user_id: int) -> bool:
        await self._store.serialize(conn, "first user")
        others = users.c.service_of.is_(None) & (users.c.id != user_id)
        return not await conn.scalar(sa.select(users.c.id).where(others).limit(1))

    async def _update(self, conn: AsyncConnection, user_id: int, **values: object) -> None:
        update = users.update().where(_PEOPLE, users.c.id == user_id)
        update = update.values(updated_at=self._store.clock(), **values)
        if not (await conn.execute(update)).rowcount:
            raise NotFound("There is no such user.")

    async def _end_sessions(self, conn: AsyncConnection, user_id: int) -> None:
        open_ones = (sessions.c.user_id == user_id) & sessions.c.revoked_at.is_(None)
        await conn.execute(sessions.update().where(open_ones).values(revoked_at=self._store.clock()))

    async def _hash(
        self, password: str | None, client: str = "", *, enforce_rules: bool = True
    ) -> str | None:
        if password is None:
            return None
        (self._passwords.rules if enforce_rules else NO_RULES).check(password)
        return await self._passwords.hash(password, client=client)

    async def _rehash(self, user: User, stored: str, password: str) -> None:
        hashed = await self._passwords.hash(password)
        async with self._store.begin() as conn:  # not over a password that was set meanwhile
            same = (users.c.id == user.id) & (users.c.password_hash == stored)
            await conn.execute(users.update().where(same).values(password_hash=hashed))


def _email(username: str, email: str | None) -> str | None:
    if "@" not in username:
        return None if email is None else email_of(email)
    own = email_of(username)
    if email is not None and email_of(email) != own:
        raise BadRequest("A username with an @ must be the user's own e-mail address.", param="username")
    return own


def _login(login: str) -> sa.ColumnElement[bool]:
    return _spelled(users.c.email if "@" in login else users.c.username, login)


def _spelled(column: sa.Column[str], name: str) -> sa.ColumnElement[bool]:
    """Whose name it is, however it is written; of two, which were there before names had rules, exactly that one."""
    try:
        exact = name_of("username", name)
    except BadRequest:  # nobody can be called that
        return sa.false()
    usual = _canonical(name)
    if usual in ("", exact):
        return column == exact
    other = sa.select(users.c.id).where(column == exact)
    return (column == exact) | ((column == usual) & ~other.exists())


def _canonical(name: str) -> str:
    """A name as new ones are stored; "" for what nobody can be called any more."""
    try:
        return username_of(name)
    except BadRequest:
        return ""


def _bad_login() -> Unauthenticated:
    return Unauthenticated("Incorrect username or password", code="invalid_credentials")


async def _taken(conn: AsyncConnection, username: str, email: str | None) -> Conflict:
    if await conn.scalar(sa.select(users.c.id).where(users.c.username == username)):
        return Conflict("The username is taken.", param="username")
    if email is not None and await conn.scalar(sa.select(users.c.id).where(users.c.email == email)):
        return Conflict("The email is taken.", param="email")
    return Conflict("The new user's id is taken.")


async def _one(conn: AsyncConnection, where: sa.ColumnElement[bool]) -> User:
    found = await _with_roles(conn, (await conn.execute(_USERS.where(where))).all())
    if not found:
        raise NotFound("There is no such user.")
    return found[0]


async def _with_roles(conn: AsyncConnection, rows: Sequence[sa.Row[Any]]) -> list[User]:
    roles: dict[int, set[str]] = {row.id: set() for row in rows}
    for user_id, role in await conn.execute(sa.select(user_roles).where(user_roles.c.user_id.in_(roles))):
        roles[user_id].add(role)
    return [User(**row._asdict(), roles=frozenset(roles[row.id])) for row in rows]
