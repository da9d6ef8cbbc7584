"""What an annotation of the schema says: for who reads a file, and for who reads the reference."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from llmgate.config.addresses import Address
from llmgate.config.annotations import default_of, kind_of, written
from llmgate.config.schema import Gate, Upstream
from llmgate.config.secrets import Secret, SecretUrl


class Inner(msgspec.Struct):
    """A table inside. With a second line."""

    port: int = 1
    tags: list[str] = msgspec.field(default_factory=lambda: ["a"])


@pytest.mark.parametrize(
    ("annotation", "expects"),
    [
        (int, "an integer"),
        (Annotated[int, Meta(ge=1, le=9)], "an integer (at least 1 and at most 9)"),
        (Inner, "a table"),
        (list[int], "an array, each item an integer"),
        (Mapping[str, Inner], "a table, each value a table"),
        (int | None, "an integer"),
    ],
)
def test_what_is_expected_is_said_in_the_words_of_toml(annotation: Any, expects: str) -> None:
    assert kind_of(annotation).expects == expects


def test_a_choice_names_its_members() -> None:
    expected = kind_of(Literal["a", "b"]).expects
    assert '"a"' in expected and '"b"' in expected


def test_nested_annotations_come_apart() -> None:
    inner = Annotated[int, Meta(description="Inside.")]
    kind = kind_of(Annotated[inner | None, Meta(description="Outside.")])
    assert (kind.core, kind.optional, kind.description) == (int, True, "Outside.")


def test_a_table_is_described_by_the_first_line_of_its_class() -> None:
    for annotation in (Inner, list[Inner], Mapping[str, Inner]):
        assert kind_of(annotation).description == "A table inside. With a second line."


@pytest.mark.parametrize(
    ("annotation", "secret"),
    [(int, False), (Secret, True), (Inner, True), (list[int], True), (Address, False)],
)
def test_what_may_hold_a_secret_is_never_shown(annotation: Any, secret: bool) -> None:
    assert kind_of(annotation).may_hold_secrets is secret


def test_numbers_with_units_say_what_they_measure() -> None:
    fields = {field.name: field for field in msgspec.structs.fields(Gate)}
    assert kind_of(fields["max_body"].type).measure
    assert kind_of(fields["workers"].type).measure == ""
    assert kind_of(fields["max_body"].type).is_number


def test_a_default_is_what_one_would_write() -> None:
    fields = {field.name: field for field in msgspec.structs.fields(Inner)}
    assert (default_of(fields["port"]), default_of(fields["tags"])) == (1, ["a"])
    required = {field.name: field for field in msgspec.structs.fields(Upstream)}["urls"]
    assert default_of(required) is None


def test_values_are_written_as_toml_has_them() -> None:
    value = {
        "at": Address("127.0.0.1", 1),
        "path": Path("/a"),
        "url": SecretUrl("redis://c"),
        "day": date(2026, 1, 2),
        "many": (1, 2),
        "table": Inner(),
    }
    assert written(value) == {
        "at": "127.0.0.1:1",
        "path": "/a",
        "url": "redis://c",
        "day": date(2026, 1, 2),
        "many": [1, 2],
        "table": {"port": 1, "tags": ["a"]},
    }
