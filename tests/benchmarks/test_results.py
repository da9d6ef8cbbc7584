"""What a run of the benchmarks says, and what it says about another run; nothing here measures anything."""

from pathlib import Path

from benchmarks.figures import FIGURES
from benchmarks.results import Results, read, regressions, tables, write

ADDED = next(figure for figure in FIGURES if figure.name == "added p50")


def results(**costs: list[float]) -> Results:
    """A run in which each target took so many microseconds for a small request, in each round."""
    run = Results(machine={"cpu": "Z80", "cores": "1"}, rounds=2, seconds=1.0)
    for target, values in costs.items():
        for value in values:
            run.add(target, {"1 kB request": value})
    return run


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every number of every round stays."""
    run = results(nginx=[10.0, 12.0], gate=[60.0, 70.0])
    write(run, tmp_path / "new" / "run.json")
    assert read(tmp_path / "new" / "run.json") == run


def test_a_cost_stands_next_to_its_range_and_its_multiple_of_nginx() -> None:
    """The machine is named too."""
    text = tables(results(nginx=[10.0, 10.0], gate=[60.0, 80.0]))
    assert "cpu Z80" in text
    assert "| gate | 70.0 (60.0-80.0), **7.0x** |" in text


def test_what_the_backend_takes_by_itself_is_not_added_by_a_target() -> None:
    """Latencies are what came on top."""
    run = results(nginx=[10.0])
    run.add("direct", {"added p50": 0.25})
    run.add("gate", {"added p50": 0.75})
    assert run.values("gate", ADDED) == [0.5]


def test_a_cost_that_grew_with_the_machine_is_no_regression() -> None:
    """Everything took twice as long, nginx too: it was the hour, or the machine."""
    before, after = results(nginx=[10.0], gate=[60.0]), results(nginx=[20.0], gate=[120.0])
    assert list(regressions(before, after)) == []


def test_a_cost_that_grew_by_itself_is_a_regression() -> None:
    """It names target, figure and factor."""
    before, after = results(nginx=[10.0], gate=[60.0]), results(nginx=[10.0], gate=[90.0])
    assert list(regressions(before, after)) == ["gate: 1 kB request: 1.50 times what it was"]
    assert list(regressions(after, before)) == []


def test_ranges_that_overlap_prove_nothing() -> None:
    """One slow round does not make a regression."""
    before, after = results(nginx=[10.0] * 3, gate=[50.0, 60.0, 90.0]), results(nginx=[10.0], gate=[80.0])
    assert list(regressions(before, after)) == []


def test_fewer_requests_per_second_are_a_regression() -> None:
    """Where more is better, less is worse."""
    before, after = results(), results()
    before.add("gate", {"saturation": 8000.0})
    after.add("gate", {"saturation": 4000.0})
    assert list(regressions(before, after)) == ["gate: saturation: 2.00 times what it was"]
