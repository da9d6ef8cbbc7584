"""Who is next: by class, then by turns that weigh the work, whoever floods."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.proxy.fair_queue import FairQueue, QueueFull


def drain(queue: FairQueue[str]) -> list[str]:
    order = []
    while (ticket := queue.pop()) is not None:
        order.append(ticket.item)
    return order


def test_one_tenant_is_served_in_the_order_it_came() -> None:
    queue: FairQueue[str] = FairQueue(max_waiting=10)
    for name in "abc":
        queue.push(name, tenant="t")
    assert drain(queue) == ["a", "b", "c"]


def test_a_tenant_that_floods_does_not_delay_another_one() -> None:
    queue: FairQueue[str] = FairQueue(max_waiting=300)
    for number in range(200):
        queue.push(f"flood {number}", tenant="flood")
    queue.push("single", tenant="single")
    assert drain(queue).index("single") <= 1


def test_work_is_what_is_shared_and_not_the_number_of_requests() -> None:
    """One tenant's requests cost ten times as much: ten of the other's go for each of them."""
    queue: FairQueue[str] = FairQueue(max_waiting=300)
    for _ in range(20):
        queue.push("large", tenant="large", cost=10_000)
    for _ in range(200):
        queue.push("small", tenant="small", cost=1_000)
    first = Counter(drain(queue)[:110])
    assert first["large"] == pytest.approx(10, abs=1)


def test_a_tenant_of_twice_the_weight_gets_twice_the_work() -> None:
    queue: FairQueue[str] = FairQueue(max_waiting=300)
    for _ in range(100):
        queue.push("heavy", tenant="heavy", weight=2)
        queue.push("light", tenant="light", weight=1)
    first = Counter(drain(queue)[:90])
    assert first["heavy"] == pytest.approx(2 * first["light"], abs=2)


def test_a_higher_class_goes_first_whatever_waits_below() -> None:
    queue: FairQueue[str] = FairQueue(max_waiting=10)
    queue.push("batch", tenant="a", priority=0)
    queue.push("interactive", tenant="b", priority=5)
    assert drain(queue) == ["interactive", "batch"]


def test_a_full_queue_takes_nobody() -> None:
    queue: FairQueue[str] = FairQueue(max_waiting=1)
    queue.push("a", tenant="t")
    with pytest.raises(QueueFull):
        queue.push("b", tenant="u")


def test_a_full_queue_makes_room_at_the_end_of_the_longest_line() -> None:
    queue: FairQueue[str] = FairQueue(max_waiting=3)
    for name in "abc":
        queue.push(name, tenant="flood")
    displaced = queue.displace("single")
    assert displaced is not None
    assert (displaced.item, displaced.queued, len(queue)) == ("c", False, 2)
    queue.push("s", tenant="single")
    assert queue.displace("single") is None
    assert queue.displace("flood") is None


def test_weights_count_for_the_length_of_a_line() -> None:
    queue: FairQueue[str] = FairQueue(max_waiting=4)
    for name in "abcd":
        queue.push(name, tenant="heavy", weight=4)
    assert queue.displace("light", weight=0.5) is None
    assert queue.displace("light", weight=2) is not None


def test_room_is_made_in_the_lowest_class_for_a_higher_one_and_never_in_a_higher_one() -> None:
    queue: FairQueue[str] = FairQueue(max_waiting=2)
    queue.push("batch", tenant="a", priority=-1)
    queue.push("chat", tenant="b", priority=1)
    displaced = queue.displace("c", priority=1)
    assert displaced is not None
    assert displaced.item == "batch"
    assert queue.displace("c", priority=0) is None


def test_an_empty_queue_has_nobody_to_displace() -> None:
    queue: FairQueue[str] = FairQueue(max_waiting=0)
    assert queue.displace("a") is None


def test_how_many_are_served_before_follows_class_and_share() -> None:
    queue: FairQueue[str] = FairQueue(max_waiting=100)
    assert queue.ahead("a") == 1
    for _ in range(10):
        queue.push("x", tenant="flood")
    queue.push("y", tenant="above", priority=1)
    assert queue.ahead("single") == 1 + 2
    assert queue.ahead("single", weight=0.1) == 1 + 11
    assert queue.ahead("flood") == 1 + 11
    assert queue.ahead("single", priority=2) == 1
    assert queue.lengths() == {0: 10, 1: 1}


def test_who_asks_now_and_then_is_next_however_long_the_others_have_waited() -> None:
    queue: FairQueue[str] = FairQueue(max_waiting=300)
    for number in range(50):
        queue.push(f"a {number}", tenant="a")
        queue.push(f"b {number}", tenant="b")
    for _ in range(10):
        queue.pop()
        queue.push("single", tenant="single", cost=1)
        ticket = queue.pop()
        assert ticket is not None
        assert ticket.item == "single"


def test_who_always_has_one_waiting_gets_no_more_than_its_share() -> None:
    """It comes back as soon as it was served, and the flood is served in between all the same."""
    queue: FairQueue[str] = FairQueue(max_waiting=300)
    for _ in range(100):
        queue.push("flood", tenant="flood")
    for name in "abc":
        queue.push(name, tenant=name)
    served: Counter[str] = Counter()
    for _ in range(80):
        ticket = queue.pop()
        assert ticket is not None
        served[ticket.item] += 1
        if ticket.item != "flood":
            queue.push(ticket.item, tenant=ticket.item)
    assert all(count == pytest.approx(20, abs=2) for count in served.values())


def test_who_leaves_is_not_served_and_leaves_twice_without_harm() -> None:
    queue: FairQueue[str] = FairQueue(max_waiting=3)
    ticket = queue.push("a", tenant="t")
    queue.push("b", tenant="t")
    queue.discard(ticket)
    queue.discard(ticket)
    assert (len(queue), drain(queue), len(queue)) == (1, ["b"], 0)


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.integers(0, 2),
        st.integers(-5, 5_000_000),
        st.floats(0, 1000, allow_nan=False),
        st.sampled_from(["push", "push", "pop", "discard"]),
    )
)


@given(STEPS)
def test_everybody_who_stays_is_served_once(steps: list[tuple[str, int, int, float, str]]) -> None:
    queue: FairQueue[int] = FairQueue(max_waiting=1_000)
    waiting = {}
    for number, (tenant, priority, cost, weight, what) in enumerate(steps):
        if what == "push":
            waiting[number] = queue.push(number, tenant=tenant, priority=priority, cost=cost, weight=weight)
        elif what == "pop":
            popped = queue.pop()
            assert (popped is None) == (not waiting)
            if popped is not None:
                assert popped.priority == max(ticket.priority for ticket in waiting.values())
                del waiting[popped.item]
        elif waiting:
            queue.discard(waiting.pop(min(waiting)))
        assert len(queue) == len(waiting)
    served = set()
    while (ticket := queue.pop()) is not None:
        served.add(ticket.item)
    assert served == set(waiting)
