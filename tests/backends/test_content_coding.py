"""Bodies that come compressed: decoded within bounds, or refused with what to write instead."""

import gzip
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from llmgate.backends.content_coding import MAX_MEMBERS, PIECE, answer_decoder, decode_request
from llmgate.errors import BadRequest, PayloadTooLarge

BODY = b'{"model":"m","messages":[]}'


def gzipped(data: bytes) -> bytes:
    """Without the time: a case has one name, whichever process collects it."""
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"", BODY),
        (b"identity", BODY),
        (b"gzip", gzipped(BODY)),
        (b" GZIP ", gzipped(BODY)),
        (b"x-gzip", gzipped(BODY[:9]) + gzipped(BODY[9:])),
        (b"deflate", zlib.compress(BODY)),
        (b"zstd", zstandard.compress(BODY)),
    ],
)
def test_what_clients_send_is_decoded(coding: bytes, body: bytes) -> None:
    assert decode_request(body, coding, 1000) == BODY


@pytest.mark.parametrize("coding", [b"br", b"gzip, gzip", b"compress"])
def test_another_coding_is_415_and_says_which_are_taken(coding: bytes) -> None:
    """RFC 9110 15.5.16."""
    with pytest.raises(BadRequest) as caught:
        decode_request(BODY, coding, 1000)
    assert caught.value.answer_status == 415
    assert caught.value.headers == [(b"accept-encoding", b"gzip, deflate, zstd")]


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", BODY),
        (b"gzip", gzipped(BODY)[:-9]),
        (b"gzip", gzipped(b"") * (MAX_MEMBERS + 1)),
        (b"deflate", b"\0"),
        (b"zstd", b"\x28\xb5\x2f\xfd" + b"0" * 40),
    ],
)
def test_a_body_that_is_not_in_its_coding_is_400(coding: bytes, body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"^body: not in"):
        decode_request(body, coding, 1000)


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress, zstandard.compress])
def test_a_bomb_is_413_and_never_in_memory(compress) -> None:
    coding = {gzip.compress: b"gzip", zlib.compress: b"deflate"}.get(compress, b"zstd")
    with pytest.raises(PayloadTooLarge):
        decode_request(compress(bytes(50_000_000)), coding, 1000)
    assert decode_request(compress(bytes(1000)), coding, 1000) == bytes(1000)


@given(st.binary(max_size=200), st.sampled_from([b"gzip", b"deflate", b"zstd"]))
def test_no_bytes_do_worse_than_be_refused(body: bytes, coding: bytes) -> None:
    try:
        assert len(decode_request(body, coding, 1000)) <= 1000
    except (BadRequest, PayloadTooLarge):
        return


def test_an_answer_is_followed_in_any_pieces() -> None:
    """And no piece of it is large, however small what came was."""
    text = bytes(3 * PIECE) + b"the end"
    data = gzip.compress(text[:1000]) + gzip.compress(text[1000:])
    decoder = answer_decoder(b"gzip")
    assert decoder is not None
    pieces = [piece for at in range(0, len(data), 7) for piece in decoder.feed(data[at : at + 7])]
    assert b"".join(pieces) == text
    assert max(map(len, pieces)) <= PIECE
    assert decoder.is_sound


def test_an_answer_that_cannot_be_followed_is_given_up() -> None:
    decoder = answer_decoder(b"gzip")
    assert decoder is not None
    assert list(decoder.feed(b"no gzip")) == []
    assert not decoder.is_sound
    assert answer_decoder(b"br") is None
