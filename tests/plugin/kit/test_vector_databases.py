"""Vector databases on a real server with pgvector."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg2
import pytest
from pgvector_server import PASSWORD, PostgresServer, postgres

from llmgate.plugin.kit.vector_databases import (
    ServerAddress,
    VectorDatabase,
    VectorServer,
    VectorServerFailed,
    scram_verifier,
)

__all__ = ["postgres"]

LIMITED, LIMITED_PASSWORD = "limited", "no superuser"


@pytest.fixture(scope="session")
def limited(postgres: PostgresServer) -> Iterator[ServerAddress]:
    """An admin with CREATEDB and CREATEROLE alone, and a template that has the extension."""
    postgres.run(f"CREATE ROLE {LIMITED} LOGIN CREATEDB CREATEROLE PASSWORD '{LIMITED_PASSWORD}'")
    postgres.run("CREATE DATABASE llmgate_vector IS_TEMPLATE true")
    postgres.run("CREATE EXTENSION vector", database="llmgate_vector")
    yield ServerAddress(postgres.host, postgres.port, LIMITED, LIMITED_PASSWORD)


def superuser(postgres: PostgresServer) -> ServerAddress:
    return ServerAddress(postgres.host, postgres.port, "postgres", PASSWORD)


@pytest.fixture(params=["superuser", "template"])
def server(request: pytest.FixtureRequest, postgres: PostgresServer) -> VectorServer:
    if request.param == "superuser":
        return VectorServer(superuser(postgres))
    return VectorServer(request.getfixturevalue("limited"))


@pytest.fixture
async def database(server: VectorServer) -> AsyncIterator[VectorDatabase]:
    database = VectorDatabase.generate()
    await server.create(database)
    yield database
    await server.drop(database.name, database.username)


def as_tenant(postgres: PostgresServer, tenant: VectorDatabase, sql: str, database: str | None = None) -> Any:
    return postgres.run(sql, database=database or tenant.name, user=tenant.username, password=tenant.password)


def left(postgres: PostgresServer, database: VectorDatabase) -> list[str]:
    """What the server still has of a tenant."""
    names = postgres.run("SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles")
    return [name for (name,) in names if name in (database.name, database.username)]


def test_generated_names_and_passwords() -> None:
    one, other = VectorDatabase.generate(), VectorDatabase.generate()
    assert one.name.startswith("db_") and one.username == f"user_{one.name[3:]}"
    assert len(one.password) == 32 and one.password not in repr(one)
    assert len({one.name, other.name, one.password, other.password}) == 4


async def test_the_tenant_has_vectors(postgres: PostgresServer, database: VectorDatabase) -> None:
    rows = as_tenant(
        postgres,
        database,
        "CREATE TABLE documents (id serial PRIMARY KEY, embedding vector(3));"
        "CREATE INDEX ON documents USING hnsw (embedding vector_l2_ops);"
        "INSERT INTO documents (embedding) VALUES ('[1,2,3]'), ('[4,5,6]');"
        "SELECT id FROM documents ORDER BY embedding <-> '[4,4,4]' LIMIT 1",
    )
    assert rows == [(2,)]


async def test_a_tenant_cannot_connect_to_anothers_database(
    postgres: PostgresServer, server: VectorServer, database: VectorDatabase
) -> None:
    other = VectorDatabase.generate()
    await server.create(other)
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        as_tenant(postgres, other, "SELECT 1", database.name)
    await server.drop(other.name, other.username)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE ROLE other",
        "CREATE DATABASE other",
        "DROP DATABASE {name}",
        "ALTER DATABASE {name} ALLOW_CONNECTIONS false",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SET ROLE postgres",
    ],
)
async def test_a_tenant_may_do_nothing_to_the_server(
    postgres: PostgresServer, database: VectorDatabase, sql: str
) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        as_tenant(postgres, database, sql.format(name=database.name))


async def test_a_tenant_cannot_let_others_in(postgres: PostgresServer, database: VectorDatabase) -> None:
    as_tenant(postgres, database, f"GRANT CONNECT ON DATABASE {database.name} TO PUBLIC")  # only warns
    granted = f"SELECT has_database_privilege('pg_monitor', '{database.name}', 'connect')"
    assert postgres.run(granted) == [(False,)]


async def test_dropping_leaves_nothing_though_the_tenant_is_connected_and_left_things_elsewhere(
    postgres: PostgresServer, server: VectorServer
) -> None:
    database = VectorDatabase.generate()
    await server.create(database)
    as_tenant(postgres, database, "SELECT lo_create(0)", "postgres")
    conn = psycopg2.connect(
        host=postgres.host,
        port=postgres.port,
        user=database.username,
        password=database.password,
        dbname=database.name,
    )
    await server.drop(database.name, database.username)
    with pytest.raises(psycopg2.OperationalError), conn.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert left(postgres, database) == []


async def test_dropping_what_is_gone_does_nothing(server: VectorServer, database: VectorDatabase) -> None:
    await server.drop(database.name, database.username)
    await server.drop(database.name, database.username)


@pytest.mark.parametrize("cut", range(1, 9))
async def test_what_a_cut_creation_left_is_dropped(
    postgres: PostgresServer, server: VectorServer, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any of its statements, as if the gate had died there."""
    import asyncpg

    database, run = VectorDatabase.generate(), 0
    execute = asyncpg.Connection.execute

    async def dies(self: Any, query: str, *args: Any, **rest: Any) -> Any:
        nonlocal run
        if run >= cut:
            raise OSError("killed")
        run += 1
        return await execute(self, query, *args, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(asyncpg.Connection, "execute", dies)
        if cut < 8:
            with pytest.raises(VectorServerFailed, match="cannot be reached"):
                await server.create(database)
            assert left(postgres, database)
    await server.drop(database.name, database.username)
    assert left(postgres, database) == []


async def test_the_password_is_in_no_log_of_the_server(
    postgres: PostgresServer, database: VectorDatabase
) -> None:
    as_tenant(postgres, database, "SELECT 1")
    log = postgres.log.read_text()
    assert database.username in log
    assert database.password not in log


async def test_it_lists_its_databases(server: VectorServer, database: VectorDatabase) -> None:
    names = await server.databases()
    assert database.name in names
    assert all(name.startswith("db_") for name in names)


async def test_a_good_server_passes_the_check(server: VectorServer) -> None:
    await server.check()


async def test_an_admin_who_cannot_create_is_found_out(postgres: PostgresServer) -> None:
    postgres.run("CREATE ROLE nobody_much LOGIN PASSWORD 'x'")
    server = VectorServer(ServerAddress(postgres.host, postgres.port, "nobody_much", "x"))
    with pytest.raises(VectorServerFailed, match="superuser, or have CREATEDB and CREATEROLE"):
        await server.check()


async def test_an_admin_without_a_template_is_told_to_make_one(limited: ServerAddress) -> None:
    with pytest.raises(VectorServerFailed, match='no template database "other"'):
        await VectorServer(limited, template="other").check()


async def test_errors_name_neither_the_admin_nor_its_password(postgres: PostgresServer) -> None:
    server = VectorServer(ServerAddress(postgres.host, postgres.port, "postgres", "wrong"))
    with pytest.raises(VectorServerFailed) as failed:
        await server.create(VectorDatabase.generate())
    message = str(failed.value)
    assert message == "the server refused: InvalidPasswordError (28P01)"


async def test_a_server_that_is_away() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = VectorServer(ServerAddress("127.0.0.1", free.getsockname()[1], "postgres", "x"))
        with pytest.raises(VectorServerFailed, match=r"cannot be reached \(ConnectionRefusedError\)"):
            await server.check()


async def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = VectorServer(
            ServerAddress("127.0.0.1", silent.getsockname()[1], "postgres", "x"), timeout=0.1
        )
        with pytest.raises(VectorServerFailed, match=r"did not answer in 0.1 s"):
            await server.check()


async def test_those_who_wait_for_their_turn_are_given_up_in_time_too() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = ServerAddress("127.0.0.1", silent.getsockname()[1], "postgres", "x")
        server = VectorServer(address, timeout=0.1, at_once=1)
        results = await asyncio.gather(*(server.check() for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [VectorServerFailed] * 3


async def test_many_at_once(postgres: PostgresServer) -> None:
    server = VectorServer(superuser(postgres), timeout=30)
    databases = [VectorDatabase.generate() for _ in range(6)]
    await asyncio.gather(*(server.create(database) for database in databases))
    assert {database.name for database in databases} <= await server.databases()
    await asyncio.gather(*(server.drop(database.name, database.username) for database in databases))
    assert not {database.name for database in databases} & await server.databases()


@pytest.mark.parametrize("name", ["postgres", "db_1; DROP DATABASE x", "db_", 'db_"', "user_ABCDEF12", ""])
async def test_other_names_are_never_put_into_a_statement(name: str) -> None:
    server = VectorServer(ServerAddress("127.0.0.1", 1, "x", "y"))
    with pytest.raises(ValueError, match="not a name that was generated here"):
        await server.drop(name, "user_12345678")
    with pytest.raises(ValueError, match="not a name that was generated here"):
        await server.create(VectorDatabase("db_12345678", name, "x"))


def test_a_verifier_is_postgresqls_own() -> None:
    """Its parts have the lengths of SHA-256, and the salt is another one each time."""
    salt = os.urandom(16)
    assert scram_verifier("pencil", salt) == scram_verifier("pencil", salt) != scram_verifier("pencil")
    assert scram_verifier("pencil").startswith("SCRAM-SHA-256$4096:")
