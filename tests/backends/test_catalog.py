"""Which upstreams serve a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.backends.catalog import Catalog, FallbackOn, ModelEntry, Resolution, Target, order
from llmgate.errors import NotFound, Unavailable

LISTS: dict[str, Collection[str] | None] = {"one": ["small"], "two": ["small", "large"], "three": ["large"]}


def catalog(**settings: object) -> Catalog:
    return Catalog(list(LISTS), live=LISTS.get, **settings)  # type: ignore[arg-type]


def test_upstreams_that_list_the_same_model_are_one_pool() -> None:
    assert catalog().resolve("small").pool == (Target("one", "small"), Target("two", "small"))


def test_an_alias_of_an_upstream_is_its_own_name_there() -> None:
    resolved = catalog(aliases={"two": {"gpt-4": "large"}}).resolve("gpt-4")
    assert (resolved.name, resolved.pool) == ("gpt-4", (Target("two", "large"),))


def test_gate_toml_goes_before_what_upstreams_say() -> None:
    entry = ModelEntry("small", [Target("three", "large")], aliases=["tiny"])
    models = catalog(models=[entry])
    assert models.resolve("small").pool == (Target("three", "large"),)
    assert models.resolve("tiny").name == "small"


def test_a_pattern_passes_the_name_on_and_comes_last() -> None:
    models = catalog(models=[ModelEntry("l*", [Target("one", "")])])
    assert models.resolve("llama").pool == (Target("one", "llama"),)
    assert models.resolve("large").pool == (Target("two", "large"), Target("three", "large"))


def test_fallbacks_and_when_they_are_taken_come_along() -> None:
    entry = ModelEntry(
        "chat",
        [Target("one", "small")],
        fallbacks=[Target("two", "large")],
        fallback_on=frozenset({FallbackOn.CONTEXT}),
    )
    resolved = catalog(models=[entry]).resolve("chat")
    assert resolved.fallbacks == (Target("two", "large"),)
    assert resolved.fallback_on == {FallbackOn.CONTEXT}


def test_an_unknown_model_is_openais_404_with_what_there_is() -> None:
    with pytest.raises(NotFound) as refused:
        catalog().resolve("huge")
    assert (refused.value.answer_code, refused.value.param) == ("model_not_found", "model")
    assert refused.value.message == "The model `huge` does not exist. The models here: small, large."


def test_while_a_list_is_unknown_nobody_is_told_that_a_model_does_not_exist() -> None:
    models = Catalog(["one", "new"], live={"one": ["small"], "new": None}.get)
    assert models.resolve("small").pool == (Target("one", "small"),)
    with pytest.raises(Unavailable) as refused:
        models.resolve("huge")
    assert refused.value.answer_status == 503


def test_the_only_upstream_of_a_route_is_asked_for_what_nobody_knows() -> None:
    assert Catalog(["one"]).resolve("whatever").pool == (Target("one", "whatever"),)


def test_a_list_that_changed_is_seen_at_once() -> None:
    lists: dict[str, list[str]] = {"one": ["small"], "two": []}
    stamp = [0]
    models = Catalog(["one", "two"], live=lists.get, changed=lambda: stamp[0])
    assert len(models.resolve("small").pool) == 1
    lists["two"] = ["small"]
    stamp[0] += 1
    assert len(models.resolve("small").pool) == 2


def test_names_hide_what_is_served_under_another_one() -> None:
    entry = ModelEntry("chat", [Target("one", "small")], aliases=["tiny"])
    models = catalog(models=[entry], aliases={"two": {"gpt-4": "large"}})
    assert models.names() == ["chat", "gpt-4", "small", "large"]  # small of two, large of three
    assert catalog().names() == ["small", "large"]


def test_models_of_an_upstream_that_is_down_are_not_listed_but_are_still_known() -> None:
    models = catalog(is_up=lambda upstream: upstream == "one")
    assert models.names() == ["small"]
    assert models.resolve("large").pool == (Target("two", "large"), Target("three", "large"))


POOL = (Target("one", "m", 9), Target("two", "m", 1), Target("three", "m", 0))


def test_weights_are_shares() -> None:
    draws = [
        order(Resolution("m", POOL), busy=lambda _: 0, random=lambda at=at: at / 1000)[0]
        for at in range(1000)
    ]
    assert Counter(target.upstream for target in draws) == {"one": 900, "two": 100}


def test_a_target_of_weight_0_is_not_even_tried_when_others_fail() -> None:
    tried = order(Resolution("m", POOL), busy=lambda _: 0, random=lambda: 0.95)
    assert [target.upstream for target in tried] == ["two", "one"]


def test_without_weights_the_idlest_goes_first_and_fallbacks_last() -> None:
    resolution = Resolution("m", (Target("one", "m"), Target("two", "m")), (Target("far", "m"),))
    busy = {"one": 3.0, "two": 1.0, "far": 0.0}
    tried = order(resolution, busy=busy.__getitem__, random=lambda: 0.0)
    assert [target.upstream for target in tried] == ["two", "one", "far"]


@given(st.text(), st.lists(st.text(min_size=1), max_size=5))
def test_any_name_has_an_answer(asked: str, listed: list[str]) -> None:
    models = Catalog(["one", "two"], live={"one": listed, "two": []}.get)
    if asked in listed:
        assert models.resolve(asked).pool == (Target("one", asked),)
    else:
        with pytest.raises(NotFound):
            models.resolve(asked)
