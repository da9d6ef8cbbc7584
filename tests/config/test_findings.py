"""How rules are judged where values are broken, or depend on others that are."""

from .rule_cases import problems_of


def test_a_broken_name_hides_no_other() -> None:
    """Each name in a list is judged on its own."""
    assert problems_of(limits=[{"per": "key", "requests": 1, "routes": [5, "v1"]}]) == [
        "limits[0].routes[0]: expected text on one line, without space around it, found 5",
        'limits[0].routes: no route or plugin "v1" (known: /v1)',
    ]
