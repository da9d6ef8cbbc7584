"""What serves the documentation: the document, and Swagger UI on a page of its own. Nothing is from elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from swagger_ui_bundle import swagger_ui_path

from ..call import JSON
from .document import Section, document

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ...errors import Header

DOCUMENT = "/openapi.json"
PAGE = "/docs"

_MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
"""The files of Swagger UI that the page takes."""

_HTML = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API documentation</title>
<link rel="icon" href="{folder}/favicon-32x32.png">
<link rel="stylesheet" href="{folder}/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="{folder}/swagger-ui-bundle.js"></script>
<script src="{folder}/start.js"></script>
</body>
</html>
"""

_START = """\
SwaggerUIBundle({
  url: "{document}",
  dom_id: "#docs",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
"""

_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may do: run and load what this gate serves, and ask this gate."""


class Page:
    """The ASGI app of one thing that does not change while the gate is open.

    Browsers keep it and ask whether it is still the same, by its ETag (RFC 9110, 13.1.2).
    """

    def __init__(self, body: bytes, media_type: str, headers: Sequence[Header] = ()) -> None:
        self._body = body
        self._etag = b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode()
        self._headers = [(b"etag", self._etag), (b"cache-control", b"no-cache"), *headers]
        self._content = [
            (b"content-type", media_type.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"x-content-type-options", b"nosniff"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        known = any(name == b"if-none-match" and self._etag in value for name, value in scope["headers"])
        status, headers = (304, self._headers) if known else (200, self._headers + self._content)
        body = b"" if known or scope["method"] == "HEAD" else self._body
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def pages(
    sections: Sequence[Section], *, page: str = PAGE, document_path: str = DOCUMENT
) -> Mapping[str, ASGIApp]:
    """The apps that document `sections`, by their paths: `page` is what browsers are sent to.

    Its links are relative: it works behind any prefix, and takes its files from below its own path.
    """
    files = {
        f"{page}/{name}": Page((swagger_ui_path / name).read_bytes(), media_type)
        for name, media_type in _MEDIA_TYPES.items()
    }
    parent = page.rpartition("/")[0]
    html = _HTML.replace("{folder}", page.removeprefix(f"{parent}/"))
    start = _START.replace("{document}", document_path.removeprefix(f"{parent}/"))
    return {
        document_path: Page(msgspec.json.encode(document(sections)), JSON),
        page: Page(html.encode(), "text/html; charset=utf-8", [(b"content-security-policy", _POLICY)]),
        f"{page}/start.js": Page(start.encode(), "text/javascript; charset=utf-8"),
        **files,
    }
