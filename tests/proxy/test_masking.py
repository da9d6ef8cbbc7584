"""A key in what a backend answers, wherever the pieces are cut."""

from hypothesis import given
from hypothesis import strategies as st

from llmgate.proxy.masking import Masker

SECRET = b"sk-abcabd"


@given(
    text=st.lists(st.sampled_from([SECRET, b"sk-abc", b"s", b"x", b"abd", b" "])),
    cuts=st.lists(st.integers(1, 9)),
)
def test_however_it_is_cut_the_key_is_gone_and_the_rest_is_there(text: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(text)
    masker = Masker(SECRET)
    shown, rest = b"", whole
    for cut in cuts:
        shown += masker.feed(rest[:cut])
        rest = rest[cut:]
    shown += masker.feed(rest) + masker.flush()
    assert shown == whole.replace(SECRET, b"*" * len(SECRET))


def test_nothing_waits_that_cannot_begin_the_key() -> None:
    masker = Masker(SECRET)
    assert masker.feed(b"data: hello\n\n") == b"data: hello\n\n"
    assert masker.feed(b"key: sk-a") == b"key: "
    assert masker.feed(b"z") == b"sk-az"
