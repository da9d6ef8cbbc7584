from stores import migrated_postgres

__all__ = ["migrated_postgres"]
