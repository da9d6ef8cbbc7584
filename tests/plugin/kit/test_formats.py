"""Times and ids as guides write them."""

import pytest

from llmgate.errors import NotFound
from llmgate.exchange import Exchange
from llmgate.plugin.call import Call
from llmgate.plugin.kit.formats import MAX_ID, id_in_path, naive_iso, rfc3339


def test_times_are_utc() -> None:
    assert rfc3339(1_770_292_800.9) == "2026-02-05T12:00:00Z"
    assert naive_iso(1_770_292_800.9) == "2026-02-05T12:00:00"
    assert (rfc3339(None), naive_iso(None)) == (None, None)


@pytest.mark.parametrize("seconds", [253_402_300_800.0, 1e15, 1e300])
def test_what_is_after_the_year_9999_is_told_as_its_end(seconds: float) -> None:
    """RFC 3339 has four digits; one key that never ends must not break a list of all."""
    assert rfc3339(seconds) == "9999-12-31T23:59:59Z"
    assert naive_iso(seconds) == "9999-12-31T23:59:59"


def call(text: str) -> Call:
    async def gone() -> dict[str, str]:
        return {"type": "http.disconnect"}

    return Call.of({"path_params": {"id": text}, "llmgate": Exchange("1", 0.0)}, gone)


@pytest.mark.parametrize("text", ["-1", "x", "1.0", "²", str(MAX_ID + 1), "9" * 5000, ""])
def test_what_is_no_id_is_not_found(text: str) -> None:
    with pytest.raises(NotFound, match="no such thing"):
        id_in_path(call(text), "thing")


def test_an_id_is_a_number() -> None:
    assert id_in_path(call(str(MAX_ID)), "thing") == MAX_ID
