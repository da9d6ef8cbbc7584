"""A PostgreSQL server with pgvector for the run."""

from collections.abc import Iterator

import pytest
from pgvector_server import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server
