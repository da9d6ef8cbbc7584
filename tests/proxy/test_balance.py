"""Where a request's like has been: by the head of its prompt, or by who asks."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from llmgate.exchange import Exchange, Principal
from llmgate.proxy.balance import Balance, by_caller, by_prompt
from llmgate.proxy.circuit_breaker import BreakerSettings
from llmgate.proxy.engines.base import Origin, UpstreamRequest
from llmgate.proxy.replica import Replica
from llmgate.proxy.selection import LeastBusy

SYSTEM = "You are a helpful assistant. " * 40


def replicas(number: int = 3) -> list[Replica]:
    return [Replica(Origin.parse(f"http://r{index}:1"), BreakerSettings()) for index in range(number)]


def request(body: object, headers: Sequence[tuple[bytes, bytes]] = ()) -> UpstreamRequest:
    return UpstreamRequest("POST", b"/v1/chat/completions", list(headers), json.dumps(body).encode())


def chat(*said: str, **fields: object) -> UpstreamRequest:
    messages = [{"role": "system", "content": SYSTEM}, *({"role": "user", "content": each} for each in said)]
    return request({**fields, "model": "m", "messages": messages})


def exchange(**fields: object) -> Exchange:
    return Exchange("id", 0.0, **fields)  # type: ignore[arg-type]


def chosen(balance: Balance, asked: UpstreamRequest, selection: LeastBusy, **fields: object) -> Replica:
    found = balance.chooser(asked, exchange(**fields), selection)()
    assert found is not None
    return found


def test_the_next_turn_of_a_chat_goes_where_the_first_one_went() -> None:
    all_three = replicas()
    selection, balance = LeastBusy(all_three), Balance(by_prompt)
    first = chosen(balance, chat("Hello " * 200), selection)
    first.in_flight = 1
    again = chosen(balance, chat("Hello " * 200, "And now?", temperature=0.5, stream=True), selection)
    assert again is first


def test_a_replica_that_is_busier_than_the_others_by_a_bound_is_spared() -> None:
    all_three = replicas()
    selection, balance = LeastBusy(all_three), Balance(by_prompt)
    first = chosen(balance, chat("Hello " * 200), selection)
    first.in_flight = 10
    assert chosen(balance, chat("Hello " * 200), selection) is not first


def test_one_that_is_down_or_was_tried_is_not_asked_whatever_it_remembers() -> None:
    all_three = replicas()
    selection, balance = LeastBusy(all_three), Balance(by_prompt)
    first = chosen(balance, chat("Hello " * 200), selection)
    choose = balance.chooser(chat("Hello " * 200), exchange(), selection)
    assert choose([first]) not in (first, None)
    assert choose(all_three) is None
    first.take_out(late=False)
    assert chosen(balance, chat("Hello " * 200), selection) is not first


def test_a_short_prompt_goes_to_the_least_busy_one() -> None:
    all_three = replicas()
    all_three[0].in_flight = all_three[1].in_flight = 1
    assert chosen(Balance(by_prompt), request({"prompt": "Hi"}), LeastBusy(all_three)) is all_three[2]


@pytest.mark.parametrize(
    "body", [b"--form\r\n" * 200, b"[" * 600, b'{"messages":' + b"\xff" * 600, b'{"a":1}' + b" " * 600]
)
def test_what_has_no_prompt_has_no_head(body: bytes) -> None:
    assert list(by_prompt(UpstreamRequest("POST", b"/", [], body), exchange())) == []


def test_the_same_prompt_for_another_model_is_another_one() -> None:
    prompt = "x" * 2000
    heads = [list(by_prompt(request({"model": model, "prompt": prompt}), exchange())) for model in "ab"]
    assert heads[0]
    assert set(heads[0]).isdisjoint(heads[1])


def test_callers_are_told_apart_by_the_header_then_by_end_user_and_key() -> None:
    heads = by_caller("X-Session-Id")
    sessions = [request({}, [(b"x-session-id", value)]) for value in (b"1", b"2", b"1")]
    one, two, again = (list(heads(each, exchange())) for each in sessions)
    assert one == again != two
    assert list(heads(request({}), exchange())) == []
    ada, bob = (
        list(heads(request({}), exchange(principal=Principal(1, "u", key_id=2), end_user=end_user)))
        for end_user in ("ada", "bob")
    )
    assert ada != bob


def test_a_caller_stays_with_one_replica() -> None:
    balance, selection = Balance(by_caller(None)), LeastBusy(replicas())
    who = Principal(1, "ada", key_id=2)
    assert len({chosen(balance, request({}), selection, principal=who).origin.url for _ in range(5)}) == 1


def test_workers_agree_on_what_none_of_them_has_seen() -> None:
    """Rendezvous hashing over the replicas' addresses: nobody tells anybody."""
    first, second = (
        chosen(Balance(by_prompt), chat("Hello " * 200), LeastBusy(replicas(8))).origin.url for _ in range(2)
    )
    assert first == second
