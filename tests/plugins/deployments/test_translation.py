"""From OpenAI's chunks to lines of text, at every cut."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from llmgate.errors import AnswerCut
from llmgate.usage.sse import EventSplitter, data_of
from llmgate_deployments.translation import Texts, events_of

text = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\r\n[DONE]"), max_size=30)


@given(st.lists(text))
def test_an_event_source_reads_the_text_that_the_model_wrote(texts: list[str]) -> None:
    """Whatever is in it; line ends become line feeds, as server-sent events have no others."""
    stream = b"".join(map(events_of, texts))
    read = [data_of(event) for event in EventSplitter().feed(stream)]
    wanted = "".join(text.replace("\r\n", "\n").replace("\r", "\n") for text in texts)
    assert b"".join(data for data in read if data is not None).decode() == wanted


@given(st.lists(text))
def test_no_text_ends_the_guides_client(texts: list[str]) -> None:
    """Which reads line by line, skips empty ones and stops at `data: [DONE]`; it gets all but line ends."""
    printed = ""
    for line in b"".join(map(events_of, texts)).splitlines():
        if line:
            data = line.decode()
            assert data.startswith("data: ")
            assert data[6:] != "[DONE]"
            printed += data[6:]
    assert printed == "".join(texts).replace("\r", "").replace("\n", "")


@given(st.binary())
def test_bytes_that_are_no_chunks_never_end_a_stream_well(junk: bytes) -> None:
    """They are cut, or say nothing."""
    texts = Texts()
    with contextlib.suppress(AnswerCut):
        texts.feed(b"data: x" + junk.replace(b"\r", b"").replace(b"\n", b"") + b"\n\n")
    assert not texts.done
