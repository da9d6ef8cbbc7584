"""Databases of tenants on a PostgreSQL server: one with pgvector, and one role, for each.

    server = VectorServer(ServerAddress("db.example", 5432, "admin", "..."))
    await server.create(database)     # role, database, extension; nobody else may connect
    await server.drop(database.name, database.username)

The server's admin is a superuser, or has CREATEDB and CREATEROLE and copies a template that has the
extension (pgvector is not a trusted one): which of the two, the server says. What comes from outside never
becomes part of a statement: names are generated here, and the server gets a password's SCRAM verifier
(RFC 5803), so that no log of its statements holds one.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..api import GateError

if TYPE_CHECKING:
    import asyncpg

TIMEOUT = 4.0
"""Seconds for a whole operation, waiting for its turn included: clients give up after five."""

AT_ONCE = 4
"""Operations on one server at a time."""

TEMPLATE = "llmgate_vector"
MAINTENANCE = "postgres"
_ITERATIONS = 4096
_NAME = re.compile(r"(db|user)_[0-9a-f]{8,32}")
_MAY_CREATE = "SELECT rolsuper, rolcreatedb AND rolcreaterole FROM pg_roles WHERE rolname = current_user"


class VectorServerFailed(GateError):
    """The server is away, too slow, or did not do what it was asked. Names neither its admin nor a secret."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a server is, and who administers it. `password` does not show."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class VectorDatabase:
    """A database and the one role that may use it. `password` does not show."""

    name: str
    username: str
    password: str = field(repr=False)

    @classmethod
    def generate(cls, token_hex: Callable[[int], str] = secrets.token_hex) -> VectorDatabase:
        """A database that does not exist yet: 64 random bits in its name, 128 in its password."""
        number = token_hex(8)
        return cls(f"db_{number}", f"user_{number}", token_hex(16))


class VectorServer:
    """One server. `template` is the database that is copied where the admin is no superuser.

    Every operation can be repeated, and raises `VectorServerFailed` where it did not come to its end.
    """

    def __init__(
        self,
        address: ServerAddress,
        *,
        template: str = TEMPLATE,
        timeout: float = TIMEOUT,
        at_once: int = AT_ONCE,
    ) -> None:
        self._address = address
        self._template = template
        self._timeout = timeout
        self._turn = asyncio.Semaphore(at_once)

    async def create(self, database: VectorDatabase) -> None:
        """Make the role, the database with pgvector, and keep everybody else out of it."""
        name, role = _checked(database.name), _checked(database.username)
        async with self._operation(), self._connect(MAINTENANCE) as admin:
            template = await self._template_of(admin)
            verifier = scram_verifier(database.password)
            await admin.execute(
                f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION "
                f"PASSWORD '{verifier}'"
            )
            await admin.execute(f'CREATE DATABASE {name} TEMPLATE "{template}" ALLOW_CONNECTIONS false')
            await admin.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
            await admin.execute(f"GRANT CONNECT, TEMPORARY, CREATE ON DATABASE {name} TO {role}")
            await admin.execute(f"GRANT {role} TO CURRENT_USER")  # who gives away has to be a member
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            async with self._connect(name) as inside:
                await inside.execute("CREATE EXTENSION IF NOT EXISTS vector")
                await inside.execute(f"ALTER SCHEMA public OWNER TO {role}")

    async def drop(self, name: str, username: str) -> None:
        """Close every connection to the database, and remove it and its role, as far as they are there."""
        name, role = _checked(name), _checked(username)
        async with self._operation(), self._connect(MAINTENANCE) as admin:
            there = await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
            if there:
                await admin.execute(f"ALTER ROLE {role} NOLOGIN")
                await admin.execute(f"GRANT {role} TO CURRENT_USER")  # to close its connections, too
            await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            if there:
                await admin.execute(f"DROP OWNED BY {role}")  # of what it made where everybody may connect
                await admin.execute(f"DROP ROLE {role}")

    async def check(self) -> None:
        """Raise `VectorServerFailed`, with the remedy, unless databases can be made here."""
        async with self._operation(), self._connect(MAINTENANCE) as admin:
            await self._template_of(admin)
            if not await admin.fetchval("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"):
                raise VectorServerFailed("the server has no pgvector: install the extension there")

    async def databases(self) -> set[str]:
        """The names of all databases here that look like ours."""
        async with self._operation(), self._connect(MAINTENANCE) as admin:
            rows = await admin.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'db\\_%'")
        return {row[0] for row in rows if _NAME.fullmatch(row[0])}

    async def _template_of(self, admin: asyncpg.Connection) -> str:
        """What databases are copied from. template0, as nobody can be connected to that one."""
        is_superuser, may_create = await admin.fetchrow(_MAY_CREATE)
        if is_superuser:
            return "template0"
        if not may_create:
            raise VectorServerFailed("the admin must be a superuser, or have CREATEDB and CREATEROLE")
        query = "SELECT 1 FROM pg_database WHERE datname = $1 AND (datistemplate OR datdba = to_regrole(current_user))"
        if not await admin.fetchval(query, self._template):
            raise VectorServerFailed(
                f'the admin is no superuser, and there is no template database "{self._template}": '
                "make one, with the extension vector in it"
            )
        return self._template

    @asynccontextmanager
    async def _operation(self) -> AsyncIterator[None]:
        """One turn, within the time that there is; whatever the driver raises becomes `VectorServerFailed`."""
        import asyncpg  # noqa: PLC0415 - an extra, which a gate without vector databases can do without

        try:
            async with asyncio.timeout(self._timeout), self._turn:
                yield
        except TimeoutError as error:
            raise VectorServerFailed(f"the server did not answer in {self._timeout:g} s") from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise VectorServerFailed(_reason(error)) from error

    @asynccontextmanager
    async def _connect(self, database: str) -> AsyncIterator[asyncpg.Connection]:
        import asyncpg  # noqa: PLC0415 - as in `_operation`

        address = self._address
        conn = await asyncpg.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            database=database,
            timeout=self._timeout,
        )
        try:
            yield conn
        finally:
            conn.terminate()  # nothing is waited for: the time may be over


class VectorServers:
    """Servers by their address, with one queue of operations for each."""

    def __init__(self, *, template: str, timeout: float, at_once: int) -> None:
        self._template = template
        self._timeout = timeout
        self._at_once = at_once
        self._servers: dict[ServerAddress, VectorServer] = {}

    def at(self, address: ServerAddress) -> VectorServer:
        """The server at `address`."""
        server = self._servers.get(address)
        if server is None:
            server = self._servers[address] = VectorServer(
                address, template=self._template, timeout=self._timeout, at_once=self._at_once
            )
        return server


def scram_verifier(password: str, salt: bytes | None = None) -> str:
    """What a PostgreSQL server stores of a password (RFC 5802, 3): it verifies with it and cannot log in."""
    salt = salt or os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name that was generated here: {name!r}")
    return name


def _reason(error: Exception) -> str:
    """What went wrong, by SQLSTATE: messages of the server quote hosts and users."""
    state = getattr(error, "sqlstate", None)
    if state is None:
        return f"the server cannot be reached ({type(error).__name__})"
    return f"the server refused: {type(error).__name__} ({state})"
