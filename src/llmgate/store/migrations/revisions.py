"""A set of revisions: a folder of Alembic files, and what of it is still to be applied."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...errors import StoreError


@dataclass(frozen=True, slots=True)
class Migrations:
    """A set of revisions: `name` (the core's or a plugin's) and the folder that holds their files."""

    name: str
    folder: Path

    @property
    def version_table(self) -> str:
        """Where the database says up to which revision it is."""
        return f"alembic_version_{self.name}"

    def revisions(self) -> list[str]:
        """Every revision id, oldest first."""
        return sorted(path.name.partition("_")[0] for path in self.folder.glob("[0-9]*_*.py"))

    def after(self, current: str | None) -> list[str]:
        """The revisions still to be applied on `current` (None: a database without any).

        Raises `StoreError` if `current` is not one of ours, as when a newer llmgate was here.
        """
        known = self.revisions()
        if current is None:
            return known
        if current not in known:
            raise StoreError(
                f"store: the database is at revision {current} of {self.name}, which this llmgate does not "
                f"know ({', '.join(known)}): use the newer llmgate, or restore the backup from before it"
            )
        return known[known.index(current) + 1 :]
