"""The one file of a form, piece by piece."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.errors import BadRequest
from llmgate.plugin.kit.multipart import FileForm

FORM = "multipart/form-data; boundary=XX"


def form(content: bytes, disposition: bytes = b'name="file"; filename="model.gguf"') -> bytes:
    """A form of one part."""
    return b"--XX\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n--XX--\r\n" % (disposition, content)


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=40))
def test_a_form_is_the_same_in_whatever_pieces_it_comes(content: bytes, cuts: list[int]) -> None:
    """All of the file comes out, and nothing else."""
    if b"\r\n--XX" in content:
        return
    body, out = form(content), FileForm(FORM)
    pieces = []
    for cut in cuts:
        pieces += out.feed(body[:cut])
        body = body[cut:]
    pieces += out.feed(body)
    out.end()
    assert b"".join(pieces) == content


@given(st.binary(max_size=300))
def test_junk_is_refused(junk: bytes) -> None:
    """It is never a whole form with a file."""
    out = FileForm(FORM)
    with pytest.raises(BadRequest):
        out.feed(junk)
        out.end()
