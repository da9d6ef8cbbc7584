"""The run with more workers: who gets which cores, and the table of what was counted."""

from dataclasses import replace

from benchmarks.scaling import Asked, Cores, Reading, cores_for, table


def test_workers_have_cores_of_their_own_where_half_of_all_are_enough() -> None:
    assert cores_for(1, [0, 1]) == Cores([0], [1], apart=True)
    assert cores_for(2, [0, 1]) == Cores([0, 1], [0, 1], apart=False)
    assert cores_for(2, [4, 5, 6, 7, 8]) == Cores([4, 5], [6, 7, 8], apart=True)


def test_each_number_of_workers_is_a_line_of_the_table() -> None:
    reading = Reading(
        2,
        Cores([0, 1], [2, 3], apart=True),
        requests=1000.0,
        microseconds=200.0,
        idle=Asked(6.0, 0.4),
        each=Asked(0.1, 1.0),
    )
    shared = replace(reading, cores=cores_for(2, [0, 1]))
    assert list(table([reading, shared]))[2:] == [
        "| 2 | 2 | 1,000 | 200 | 6.0 | 0.100 | 0.4 | 1.00 |",
        "| 2 | 2, shared with all else | 1,000 | 200 | 6.0 | 0.100 | 0.4 | 1.00 |",
    ]
