from pathlib import Path

from cli.conftest import Cli


def test_backup_copies_the_store_once(llmgate: Cli, migrated: Path) -> None:
    """And never over another file."""
    target = migrated / "copy.db"
    said = llmgate.json("backup", str(target))
    assert said == {"file": str(target), "size": target.stat().st_size}
    assert "File exists" in llmgate("backup", str(target), code=2).stderr
