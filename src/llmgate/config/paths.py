"""URL paths, and the operations that a route lets through."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .secrets import Sources

_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~!$&'()*+,;=:@-]+"
URL_PATH = re.compile(rf"/|(?:/{_SEGMENT})+")
_TEMPLATE_SEGMENT = rf"(?:\{{[a-z_]+\}}|{_SEGMENT})"
_OPERATION = re.compile(rf"([A-Z]+) ((?:/{_TEMPLATE_SEGMENT})*(?:/\{{[a-z_]+:path\}})?)")


@dataclass(frozen=True, slots=True)
class Operation:
    """A method and a path below a route's prefix; `Operation("*", "*")` is all of them.

    In the path, `{name}` stands for one segment and `{name:path}`, at the end, for one or more.
    """

    method: str
    path: str

    def __str__(self) -> str:
        return "*" if self.method == "*" else f"{self.method} {self.path}"


PUBLIC_API = tuple(
    Operation(*operation.split())
    for operation in (
        "POST /chat/completions",
        "POST /completions",
        "POST /embeddings",
        "POST /responses",
        "POST /messages",
        "POST /messages/count_tokens",
        "POST /rerank",
        "POST /score",
        "POST /pooling",
        "POST /classify",
        "POST /audio/speech",
        "POST /audio/transcriptions",
        "POST /audio/translations",
        "GET /models",
        "GET /models/{id:path}",
    )
)
"""What OpenAI's and vLLM's public API has below `/v1`. Ids of models have slashes in them.

Stored responses (`/responses/{id}`) are not among them: a backend knows one caller, the gate, and would show
anybody's to everybody.
"""


def parse_path(text: str, _: Sources) -> str:
    """A path without "." or ".." as a part, escapes, or a slash at its end: what servers cannot read differently."""
    if not URL_PATH.fullmatch(text):
        raise ValueError
    return text


def parse_prefix(text: str, sources: Sources) -> str:
    """A path, or nothing."""
    if text == "/":
        raise ValueError('"/" adds nothing: leave the key out')
    return text and parse_path(text, sources)


def parse_operation(text: str, _: Sources) -> Operation:
    """`METHOD /path`, or `*`."""
    if text == "*":
        return Operation("*", "*")
    match = _OPERATION.fullmatch(text)
    if match is None or not match[2]:
        raise ValueError
    return Operation(match[1], match[2])
