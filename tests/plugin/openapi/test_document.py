"""The OpenAPI document: what an operation declares, and what follows from it."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest
from msgspec import Meta

from llmgate.plugin.call import EVENTS, FORM, JSON, Call, Media
from llmgate.plugin.openapi import Section, document
from llmgate.plugin.operation import Operation, Surface


class Thing(msgspec.Struct):
    """A thing."""

    name: Annotated[str, Meta(max_length=9)]


class Other(msgspec.Struct):
    """Another thing."""

    name: str


class Search(msgspec.Struct):
    word: str
    limit: Annotated[int, Meta(ge=1)] | None = None


async def handle(call: Call) -> None:
    """Do it.

    Carefully.
    """


def described(**settings: Any) -> dict[str, Any]:
    """What the document has of one operation."""
    defaults: dict[str, Any] = {"method": "POST", "path": "/things/{id}", "handler": handle}
    surface = Surface("shop", [Operation(**defaults | settings)])
    operation: dict[str, Any] = document([Section(surface)])["paths"]["/things/{id}"]["post"]
    return operation


def schema_of(answer: dict[str, Any]) -> Any:
    return answer["content"][JSON]["schema"]


def test_types_are_components_that_operations_refer_to() -> None:
    """With their bounds and docstrings; under the surface's name, as surfaces may have types of one name."""
    surface = Surface("shop", [Operation(method="POST", path="/things", handler=handle, body=Thing)])
    made = document([Section(surface)])
    body = made["paths"]["/things"]["post"]["requestBody"]
    assert body == {
        "required": True,
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/shop.Thing"}}},
    }
    thing = made["components"]["schemas"]["shop.Thing"]
    assert thing["description"] == "A thing."
    assert thing["properties"]["name"] == {"type": "string", "maxLength": 9}


@pytest.mark.parametrize(
    ("settings", "statuses"),
    [
        ({}, {200, 429, 503}),
        ({"body": Thing}, {200, 400, 413, 415, 429, 503}),
        ({"query": Search}, {200, 400, 429, 503}),
        ({"credentials": ("bearer",)}, {200, 401, 429, 503}),
        ({"credentials": ("bearer",), "roles": ("admin",)}, {200, 401, 403, 429, 503}),
        ({"answers": {201: Thing, 404: Other}}, {201, 404, 429, 503}),
    ],
)
def test_refusals_that_follow_need_not_be_declared(settings: dict[str, Any], statuses: set[int]) -> None:
    """What a body, a query, a credential or a role can be refused for; and rate limits, and the store."""
    assert described(**settings)["responses"].keys() == {str(status) for status in statuses}


def test_implied_refusals_are_of_the_surfaces_type() -> None:
    """Unless the operation says otherwise."""
    surface = Surface(
        "shop",
        [Operation(method="GET", path="/", handler=handle, answers={200: None, 503: Other})],
        problem=Thing,
    )
    responses = document([Section(surface)])["paths"]["/"]["get"]["responses"]
    assert schema_of(responses["429"]) == {"$ref": "#/components/schemas/shop.Thing"}
    assert schema_of(responses["503"]) == {"$ref": "#/components/schemas/shop.Other"}
    assert "content" not in responses["200"]


def test_an_answer_may_be_of_several_types_or_of_a_media_type() -> None:
    """Two structs of which either may come; a stream, which has no schema."""
    responses = described(answers={200: Media([EVENTS]), 429: Thing | Other})["responses"]
    assert responses["200"]["content"] == {EVENTS: {}}
    refs = [{"$ref": f"#/components/schemas/shop.{name}"} for name in ("Thing", "Other")]
    assert schema_of(responses["429"]) == {"anyOf": refs}


def test_path_query_and_headers_are_parameters() -> None:
    """What may be null in a query is left out instead."""
    said = described(query=Search, parameters={"id": UUID}, headers={"X-Note": str})["parameters"]
    assert said == [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}},
        {"name": "word", "in": "query", "required": True, "schema": {"type": "string"}},
        {"name": "limit", "in": "query", "required": False, "schema": {"type": "integer", "minimum": 1}},
        {"name": "X-Note", "in": "header", "schema": {"type": "string"}},
    ]


def test_a_parameter_without_a_type_is_text() -> None:
    """As it is in `Call.path`."""
    assert described()["parameters"][0]["schema"] == {"type": "string"}


def test_a_form_has_its_media_type() -> None:
    """And is read as one."""
    assert [*described(body=Thing, media_types=(FORM,))["requestBody"]["content"]] == [FORM]


def test_credentials_are_alternatives() -> None:
    """None at all is one more, where none is required."""
    both = {"credentials": ("bearer", "x-api-key")}
    assert described(**both)["security"] == [{"bearer": []}, {"x-api-key": []}]
    assert described(**both, required=False)["security"] == [{}, {"bearer": []}, {"x-api-key": []}]
    assert "security" not in described()


def test_the_handler_says_what_it_does_and_roles_who_may_ask() -> None:
    """Its docstring, without the indentation."""
    said = described(summary="Do.", credentials=("bearer",), roles=("admin", "owner"))
    assert said["summary"] == "Do."
    assert said["description"] == "Do it.\n\nCarefully.\n\nNeeds the role `admin` or `owner`."


def test_surfaces_are_tags_and_stand_behind_their_prefixes() -> None:
    """Paths that two of them share are kept apart by method; `:path` is no part of a parameter's name."""
    shop = Surface("shop", [Operation(method="GET", path="/{rest:path}", handler=handle)], title="The Shop")
    bank = Surface("bank", [Operation(method="PUT", path="/{rest}", handler=handle, credentials=("cookie",))])
    made = document([Section(shop, "/a"), Section(bank, "/a")])
    assert made["tags"] == [{"name": "The Shop"}, {"name": "bank"}]
    assert {method: said["tags"] for method, said in made["paths"]["/a/{rest}"].items()} == {
        "get": ["The Shop"],
        "put": ["bank"],
    }
    assert made["components"]["securitySchemes"].keys() == {"cookie"}
