"""A webhook's other end."""

from dataclasses import dataclass, field

import msgspec
from starlette.types import Receive, Scope, Send

from llmgate.exchange import read_body


@dataclass
class Receiver:
    """An ASGI app that answers with each of `statuses`, then 204, and keeps the headers and body of all it got."""

    statuses: list[int] = field(default_factory=list)
    got: list[tuple[dict[bytes, bytes], bytes]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.got.append((dict(scope["headers"]), await read_body(receive, 1 << 20)))
        status = self.statuses.pop(0) if self.statuses else 204
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    @property
    def kinds(self) -> list[str]:
        return [msgspec.json.decode(body)["type"] for _, body in self.got]
