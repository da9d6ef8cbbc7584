"""What counts as a difference, and what varies from answer to answer by its nature."""

from dataclasses import replace

import pytest

from llmgate.tools.conformance import Answer, added, differences
from llmgate.tools.conformance.compare import masked

DIRECT = Answer(
    200,
    (
        (b"date", b"Mon, 01 Jan 2029 00:00:00 GMT"),
        (b"content-type", b"application/json"),
        (b"vary", b"Origin"),
        (b"connection", b"keep-alive"),
        (b"content-length", b"40"),
    ),
    b'{"id":"chatcmpl-be6d3a1c2493c136","created":1795321389,"text":"Hi"}',
)
EVENT = b'data: {"id":"cmpl-0123456789abcdef","choices":[]}\n\n'
STREAM = Answer(200, ((b"content-type", b"text/event-stream; charset=utf-8"),), b": hi\n\n" + EVENT)


def changed(answer: Answer, name: bytes, value: bytes | None) -> Answer:
    kept = [pair for pair in answer.headers if pair[0] != name]
    return replace(answer, headers=(*kept, *([(name, value)] if value is not None else [])))


@pytest.mark.parametrize(
    "same",
    [
        replace(DIRECT, headers=((b"date", b"later"), *DIRECT.headers[1:])),
        replace(DIRECT, headers=tuple(pair for pair in DIRECT.headers if pair[0] != b"connection")),
        replace(
            DIRECT, headers=(*DIRECT.headers, (b"x-gate-request-id", b"1"), (b"x-ratelimit-limit", b"9"))
        ),
        replace(
            DIRECT, body=DIRECT.body.replace(b"be6d3a1c2493c136", b"01a2025e-3a1b-726f-8b9c-74b5b85e9bfc")
        ),
        replace(DIRECT, body=DIRECT.body.replace(b"1795321389", b"1795321390")),
    ],
    ids=["date", "hop by hop", "added by the gate", "another kind of id", "another time"],
)
def test_what_varies_by_its_nature_is_no_difference(same: Answer) -> None:
    """Nor is what belongs to the connection, or what the gate adds."""
    assert differences(DIRECT, same) == []


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(DIRECT, status=201), "status: 200 directly, 201 through the gate"),
        (replace(DIRECT, cut=True), "the end: broke off through the gate"),
        (changed(DIRECT, b"vary", None), "header lost or changed: vary: Origin"),
        (changed(DIRECT, b"content-length", None), "header lost or changed: content-length: "),
        (changed(DIRECT, b"via", b"1.1 gate"), "header added or changed: via: 1.1 gate"),
        (replace(DIRECT, headers=DIRECT.headers[::-1]), "the order of the headers"),
        (replace(DIRECT, body=DIRECT.body.replace(b'"Hi"', b'"Ho"')), "body: from byte"),
        (replace(DIRECT, body=DIRECT.body.replace(b":", b": ", 1)), "body: from byte 6 on"),
    ],
)
def test_anything_else_is_named(other: Answer, words: str) -> None:
    """One difference, one line that says which."""
    [found] = differences(DIRECT, other)
    assert words in found


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (STREAM.body.replace(b": hi", b": ho"), "event 1: from byte 3 on"),
        (STREAM.body.replace(b"[]", b"[1]"), "event 2: "),
        (STREAM.body + b"data: [DONE]\n\n", "event 3: "),
        (EVENT, "event 1: "),
        (STREAM.body[:-1], "event 2: "),
        (STREAM.body.replace(b"\n", b"\r\n"), "event 1: "),
    ],
    ids=["comment", "data", "one more", "one less", "cut", "line ends"],
)
def test_streams_are_compared_event_by_event(body: bytes, words: str) -> None:
    """Comments, line ends and a missing last line end count, too: clients see them."""
    assert differences(STREAM, replace(STREAM, body=body))[0].startswith(words)
    assert differences(STREAM, STREAM) == []


@pytest.mark.parametrize(
    "text",
    [
        b'{"id":"tiny"}',
        b'{"id":"meta-llama/Llama-3.1-8B-Instruct"}',
        b'{"content":"be6d3a1c2493c136"}',
        b'{"total_tokens":12,"index":0}',
    ],
)
def test_names_contents_and_counts_are_not_masked(text: bytes) -> None:
    """A gate that changed them would be seen."""
    assert masked(text) == text


def test_timings_are_masked_and_nothing_beside_them() -> None:
    """As llama.cpp's server gives them."""
    timings = b'{"timings":{"cache_n":31,"prompt_ms":21.63,"predicted_per_second":5.0e-3}}'
    assert masked(timings) == b'{"timings":{"cache_n":31,"prompt_ms":<time>,"predicted_per_second":<time>}}'


def test_what_the_gate_added_is_listed() -> None:
    """Unless the backend sends it by itself."""
    through = replace(DIRECT, headers=(*DIRECT.headers, (b"x-request-id", b"1"), (b"x-other", b"2")))
    assert added(DIRECT, through) == {"x-request-id"}
    assert added(through, through) == set()
