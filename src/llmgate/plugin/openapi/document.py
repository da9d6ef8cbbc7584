"""One OpenAPI 3.1 document of several surfaces (https://spec.openapis.org/oas/v3.1.1.html)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType, UnionType
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from ...version import __version__
from ..call import ANY, Media

if TYPE_CHECKING:
    from ..operation import AnyOperation, Surface

Object = dict[str, Any]
"""An object of the document."""

_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")

_SECURITY_SCHEMES: Mapping[str, Object] = MappingProxyType(
    {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token or an API key.",
        },
        "x-api-key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
        "cookie": {"type": "apiKey", "in": "cookie", "name": "access_token"},
    }
)
"""Where a credential may stand, as `llmgate.middleware.Authentication` has it."""


@dataclass(frozen=True, slots=True)
class Section:
    """A surface, and the prefix that gate.toml puts before its paths."""

    surface: Surface
    prefix: str = ""

    @property
    def tag(self) -> str:
        """How its operations are grouped."""
        return self.surface.title or self.surface.name


def document(sections: Sequence[Section]) -> Object:
    """The document of all `sections`: what each operation takes, answers and asks for."""
    paths: dict[str, Object] = {}
    schemas: Object = {}
    for section in sections:
        types = _Types(section.surface)
        schemas |= types.components
        for operation in section.surface.operations:
            path = paths.setdefault(_PARAMETER.sub(r"{\1}", section.prefix + operation.path), {})
            path[operation.method.lower()] = _operation(operation, section, types)
    used = {name for section in sections for each in section.surface.operations for name in each.credentials}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": sections[0].tag if len(sections) == 1 else "llmgate",
            "version": __version__,
        },
        "tags": [{"name": section.tag} for section in sections],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {name: _SECURITY_SCHEMES[name] for name in sorted(used)},
        },
    }


class _Types:
    """The JSON schemas of all types that a surface names. `components` are those with names of their own."""

    def __init__(self, surface: Surface) -> None:
        kinds = [kind for operation in surface.operations for kind in _kinds(operation)] + [surface.problem]
        # All in one call: only so does msgspec tell two types apart that have the same name.
        schemas, components = msgspec.json.schema_components(
            kinds, ref_template=f"#/components/schemas/{surface.name}.{{name}}"
        )
        self._schemas = dict(zip(kinds, schemas, strict=True))
        self.components = {f"{surface.name}.{name}": schema for name, schema in components.items()}

    def schema(self, kind: Any) -> Object:
        """What to write where a value of type `kind` stands."""
        schemas: list[Object] = [self._schemas[each] for each in _alternatives(kind)]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def members(self, kind: type[Any]) -> tuple[Mapping[str, Object], Sequence[str]]:
        """The fields of a struct, and the names of those that it cannot do without."""
        struct = self.components[self.schema(kind)["$ref"].rpartition("/")[2]]
        return struct["properties"], struct.get("required", ())


def _kinds(operation: AnyOperation) -> Iterator[Any]:
    yield from filter(None, (operation.body, operation.query))
    yield from (*operation.parameters.values(), *operation.headers.values())
    for kind in operation.answers.values():
        if kind is not None and not isinstance(kind, Media):
            yield from _alternatives(kind)


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """The types of a union, which msgspec itself takes only where it could decode it."""
    return get_args(kind) if isinstance(kind, UnionType) else (kind,)


def _operation(operation: AnyOperation, section: Section, types: _Types) -> Object:
    described: Object = {
        "operationId": _id(operation, section.surface.name),
        "tags": [section.tag],
        "summary": operation.summary,
        "description": _description(operation),
        "parameters": [*_parameters(operation, types)],
        "responses": _answers(operation, section.surface, types),
    }
    if operation.body is not None:
        schema = types.schema(operation.body)
        content = {kind: {"schema": schema} for kind in operation.media_types if kind != ANY}
        described["requestBody"] = {"required": True, "content": content}
    if operation.credentials:
        alternatives: list[Object] = [{name: []} for name in operation.credentials]
        described["security"] = alternatives if operation.required else [{}, *alternatives]
    return {key: value for key, value in described.items() if value}


def _id(operation: AnyOperation, surface: str) -> str:
    path = _PARAMETER.sub(r"\1", operation.path)
    return "_".join(re.findall(r"\w+", f"{surface} {operation.method.lower()} {path}"))


def _description(operation: AnyOperation) -> str:
    """What the handler says of itself, and who may ask."""
    texts = [inspect.getdoc(operation.handler) or ""] if inspect.isroutine(operation.handler) else []
    if operation.roles:
        texts.append(f"Needs the role {' or '.join(f'`{role}`' for role in operation.roles)}.")
    if operation.access is not None:
        texts.append(inspect.getdoc(operation.access) or "")
    return "\n\n".join(filter(None, texts))


def _parameters(operation: AnyOperation, types: _Types) -> Iterator[Object]:
    for name in _PARAMETER.findall(operation.path):
        kind = operation.parameters.get(name)
        schema = {"type": "string"} if kind is None else types.schema(kind)
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    if operation.query is not None:
        members, required = types.members(operation.query)
        for name, schema in members.items():
            yield {"name": name, "in": "query", "required": name in required, "schema": _without_null(schema)}
    for name, kind in operation.headers.items():
        yield {"name": name, "in": "header", "schema": types.schema(kind)}


def _without_null(schema: Object) -> Object:
    """A field that may be null is a parameter that may be left out: no query says null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if not kinds:
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf" and value is not None}
    return {**rest, **kinds[0]} if len(kinds) == 1 else {**rest, "anyOf": kinds}


def _answers(operation: AnyOperation, surface: Surface, types: _Types) -> Object:
    kinds = {**dict.fromkeys(_refusals(operation), surface.problem), **operation.answers}
    order = sorted(kinds, key=lambda status: (status not in operation.answers, status))
    return {str(status): _answer(status, kinds[status], types) for status in order}


def _refusals(operation: AnyOperation) -> Iterator[int]:
    """The statuses of what is refused before the handler is asked: see `Operation`."""
    if operation.body is not None:
        yield from (400, 413)
        if operation.handler is not None and ANY not in operation.media_types:
            yield 415
    if operation.query is not None:
        yield 400
    if operation.credentials:
        yield 401
    if operation.roles or operation.access is not None:
        yield 403
    yield from (429, 503)


def _answer(status: int, kind: Any, types: _Types) -> Object:
    response: Object = {"description": HTTPStatus(status).phrase}
    if isinstance(kind, Media):
        response["content"] = {media_type: {} for media_type in kind.types}
    elif kind is not None:
        response["content"] = {"application/json": {"schema": types.schema(kind)}}
    return response
