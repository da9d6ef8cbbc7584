"""A short version of `make torture`: one process on SQLite, killed under load, and the books in the end."""

from pathlib import Path

from torture.books import audit
from torture.run import Size, run
from torture.scenes import sqlite
from torture.table import table


async def test_the_books_are_right_whatever_dies(tmp_path: Path) -> None:
    """Gate and backends are killed, clients leave, the store is locked; `make torture` does more of it."""
    async with sqlite(tmp_path) as scene:
        result = await run(scene, "short", Size(seconds=3.0, clients=2, tokens=1200))
    assert result.troubles["kill -9 of the gate"] >= 1
    assert any(seen.end == "finished" for seen in result.evidence.sightings)
    assert audit(result.evidence) == []
    assert "left over  nothing" in list(table(scene.name, result))
