from cli.conftest import Cli


def test_migrate_makes_the_store_and_says_what_was_applied(unmigrated: Cli) -> None:
    """The second time there is nothing to do."""
    applied = unmigrated.json("migrate")["applied"]
    assert applied and all(step.startswith("core ") for step in applied)
    assert unmigrated("migrate").stdout == "applied: nothing\n"


def test_check_tells_by_its_exit_code_and_changes_nothing(unmigrated: Cli) -> None:
    """1 before, 0 after: for a script that deploys."""
    pending = unmigrated.json("migrate", "--check", code=1)["pending"]
    assert unmigrated.json("migrate")["applied"] == pending
    assert unmigrated("migrate", "--check").stdout == "pending: nothing\n"
