"""Sealed secrets: they open where they were sealed, and nowhere else; keys can be changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.store.sealed import Place, SealedBox, SealError

OLD, NEW = "o" * 32, "n" * 64
HERE = Place("regions", "password", "r1")


def test_a_secret_comes_back_as_it_was() -> None:
    box = SealedBox([OLD])
    assert box.open(box.seal("pässword", HERE), HERE) == "pässword"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_sealed(text: str) -> None:
    box = SealedBox([OLD])
    assert box.open(box.seal(text, HERE), HERE) == text


def test_the_sealed_value_shows_nothing_and_is_never_the_same() -> None:
    box = SealedBox([OLD])
    one, other = box.seal("secret", HERE), box.seal("secret", HERE)
    assert one != other
    assert "secret" not in one and OLD not in repr(box)
    assert one.isascii() and one.isprintable()


@pytest.mark.parametrize(
    "elsewhere",
    [Place("keys", "password", "r1"), Place("regions", "token", "r1"), Place("regions", "password", "r2")],
    ids=["table", "column", "row"],
)
def test_it_does_not_open_at_another_place(elsewhere: Place) -> None:
    box = SealedBox([OLD])
    with pytest.raises(SealError, match="not what was sealed there"):
        box.open(box.seal("secret", HERE), elsewhere)


def test_places_whose_parts_join_to_the_same_text_differ() -> None:
    """`ab` + `c` is not `a` + `bc`."""
    assert Place("ab", "c", "1").encode() != Place("a", "bc", "1").encode()


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=7))
def test_a_changed_bit_is_noticed(at: int, bit: int) -> None:
    box = SealedBox([OLD])
    sealed = bytearray(box.seal("secret", HERE).encode())
    sealed[at % len(sealed)] ^= 1 << bit
    changed = sealed.decode("latin-1")
    with pytest.raises(SealError):
        box.open(changed, HERE)


@pytest.mark.parametrize("text", ["", "1", "1.", "1.00000000.", "2.00000000.AAAA", "secret", "1.x.é"])
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    with pytest.raises(SealError):
        SealedBox([OLD]).open(text, HERE)


def test_an_error_quotes_neither_the_secret_nor_its_sealed_form() -> None:
    sealed = SealedBox([OLD]).seal("secret", HERE)
    with pytest.raises(SealError) as caught:
        SealedBox([NEW]).open(sealed, HERE)
    assert sealed.rpartition(".")[2] not in str(caught.value)


def test_changing_the_key() -> None:
    """The new key first: old values open and are told apart; sealed anew, they need the old key no more."""
    sealed = SealedBox([OLD]).seal("secret", HERE)
    both = SealedBox([NEW, OLD])
    assert both.open(sealed, HERE) == "secret"
    assert both.outdated(sealed)
    anew = both.seal(both.open(sealed, HERE), HERE)
    assert anew.startswith(both.current_prefix) and not both.outdated(anew)
    assert SealedBox([NEW]).open(anew, HERE) == "secret"


def test_keys_for_other_purposes_differ_by_purpose_and_by_key() -> None:
    box = SealedBox([OLD, NEW])
    assert len(box.derive("codes")) == 32
    assert len({box.derive("codes"), box.derive("links"), SealedBox([NEW]).derive("codes")}) == 3
    assert box.derive("codes") == SealedBox([OLD]).derive("codes")


@pytest.mark.parametrize("keys", [[], ["short"], [OLD, "short"]])
def test_a_key_that_could_be_guessed_is_refused(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="key"):
        SealedBox(keys)
