from redis_server import prefix, redis_pipe
from stores import clock, migrated_file, migrated_postgres, postgres_url, sqlite_url, store, store_url

__all__ = [
    "clock",
    "migrated_file",
    "migrated_postgres",
    "postgres_url",
    "prefix",
    "redis_pipe",
    "sqlite_url",
    "store",
    "store_url",
]
