"""Which headers go through, each way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.errors import BadRequest
from llmgate.proxy.headers import (
    HOP_BY_HOP,
    NOT_FORWARDED,
    forwarded_headers,
    request_headers,
    response_headers,
)

common = st.sampled_from([*sorted(NOT_FORWARDED), b"accept", b"content-type", b"x-stainless-lang"])
names = common | st.text("abcxyz-09", min_size=1, max_size=9).map(str.encode)
values = st.text("azAZ09 ,;=\t\xa0\xff", max_size=12).map(lambda text: text.encode("latin-1"))
headers = st.lists(st.tuples(names, values), max_size=12)


def up(*came: tuple[bytes, bytes], **how: object) -> list[tuple[bytes, bytes]]:
    return request_headers(came, request_id="id", **how)[:-1]


@given(headers)
def test_request_headers_pass_in_order(came: list[tuple[bytes, bytes]]) -> None:
    """Whatever is neither hop-by-hop, credential nor framing arrives as it came, duplicates included."""
    came = [pair for pair in came if pair[0] not in {b"connection", b"cookie", b"x-request-id"}]
    assert up(*came) == [pair for pair in came if pair[0] not in NOT_FORWARDED]


@given(headers)
def test_response_headers_pass_in_order(came: list[tuple[bytes, bytes]]) -> None:
    came = [pair for pair in came if pair[0] != b"connection"]
    assert response_headers(came, 200) == [pair for pair in came if pair[0] not in HOP_BY_HOP]


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_hop_by_hop_headers_stay_on_their_hop(name: bytes) -> None:
    """RFC 9110 7.6.1."""
    assert up((name, b"x")) == []
    assert response_headers([(name, b"x")], 200) == []


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key", b"api-key", b"proxy-authorization"])
def test_credentials_never_go_upstream(name: bytes) -> None:
    assert up((name, b"sk-secret")) == []


def test_upstreams_own_key_is_put_in() -> None:
    sent = request_headers(
        [(b"authorization", b"Bearer mine")], request_id="id", credential=(b"authorization", b"Bearer its")
    )
    assert [value for name, value in sent if name == b"authorization"] == [b"Bearer its"]


@pytest.mark.parametrize(
    ("came", "sent"),
    [
        (b"access_token=x", None),
        (b"a=1; access_token=x; b=2", b"a=1; b=2"),
        (b"access_token=x;b=2", b"b=2"),
        (b"a=1;  b=2 ;c", b"a=1;  b=2 ;c"),
        (b"my_access_token=1; access_token_2=2", b"my_access_token=1; access_token_2=2"),
        (b"a=access_token", b"a=access_token"),
    ],
)
def test_only_the_session_cookie_is_taken_out(came: bytes, sent: bytes | None) -> None:
    assert up((b"cookie", came)) == ([] if sent is None else [(b"cookie", sent)])


@pytest.mark.parametrize("option", [b"x-gone", b"X-Gone", b"keep-alive, x-gone", b" x-gone ,close"])
def test_headers_named_in_connection_are_removed(option: bytes) -> None:
    assert up((b"x-gone", b"1"), (b"connection", option), (b"x-stays", b"2")) == [(b"x-stays", b"2")]
    answer = [(b"x-gone", b"1"), (b"connection", option), (b"x-stays", b"2")]
    assert response_headers(answer, 200) == [(b"x-stays", b"2")]


def test_connection_cannot_take_away_what_the_gate_puts_in() -> None:
    """A caller must not strip the upstream's key, the request's id or what is told about itself."""
    option = (b"connection", b"authorization, x-request-id, x-forwarded-for")
    forwarded = [(b"x-forwarded-for", b"192.0.2.1")]
    sent = request_headers(
        [option, (b"x-request-id", b"mine")],
        request_id="id",
        credential=(b"authorization", b"Bearer its"),
        put=forwarded,
    )
    assert sent == [(b"x-request-id", b"id"), (b"authorization", b"Bearer its"), *forwarded]


def test_connection_cannot_take_away_the_length_of_an_answer() -> None:
    answer = [(b"content-length", b"3"), (b"connection", b"content-length")]
    assert response_headers(answer, 200) == [(b"content-length", b"3")]


@pytest.mark.parametrize(
    "name", [b"host", b"content-length", b"expect", b"x-http-method-override", b"x-http-method"]
)
def test_what_the_engine_writes_or_the_server_answered_is_left_out(name: bytes) -> None:
    """And what would make another method of the one that was let through."""
    assert up((name, b"x")) == []


def test_request_id_of_the_caller_is_kept_and_a_missing_one_added() -> None:
    assert request_headers([(b"x-request-id", b"mine")], request_id="id") == [(b"x-request-id", b"mine")]
    assert request_headers([], request_id="id") == [(b"x-request-id", b"id")]


def test_duplicated_set_cookie_is_kept() -> None:
    came = [(b"set-cookie", b"a=1"), (b"x", b"y"), (b"set-cookie", b"b=2")]
    assert response_headers(came, 200) == came


@pytest.mark.parametrize(("status", "kept"), [(200, True), (204, False), (304, False), (416, True)])
def test_length_is_left_out_where_no_body_can_follow(status: int, kept: bool) -> None:
    """Servers hold an app to the length it announces; 304 may announce one that it does not send."""
    assert response_headers([(b"content-length", b"5")], status) == (
        [(b"content-length", b"5")] if kept else []
    )


def test_forwarded_headers_append_the_client() -> None:
    came = [(b"host", b"gate"), (b"x-forwarded-for", b"192.0.2.9"), (b"x-forwarded-proto", b"spoofed")]
    forwarded = forwarded_headers(came, client="192.0.2.1", scheme="https")
    assert forwarded == [
        (b"x-forwarded-for", b"192.0.2.9, 192.0.2.1"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"gate"),
    ]
    sent = request_headers(came, request_id="id", put=forwarded)
    assert [pair for pair in sent if pair[0] != b"x-request-id"] == forwarded


def test_without_a_client_address_nothing_is_claimed() -> None:
    assert forwarded_headers([], client=None, scheme="http") == [(b"x-forwarded-proto", b"http")]


def test_via_tells_that_a_request_came_through_this_gate_too() -> None:
    came = [(b"via", b"1.1 a"), (b"via", b"1.0 b (c)")]
    sent = request_headers(came, request_id="1", via=b"here")
    assert [pair for pair in sent if pair[0] == b"via"] == [*came, (b"via", b"1.1 here")]


def test_a_request_that_comes_back_is_508() -> None:
    """Not even `Connection: via` on the way hides that it was here."""
    back = [(b"connection", b"via"), (b"via", b"1.1 a, 1.1 here, 1.1 b")]
    with pytest.raises(BadRequest) as refused:
        request_headers(back, request_id="1", via=b"here")
    assert (refused.value.answer_status, refused.value.answer_code) == (508, "loop_detected")
