"""What the gate sends to a backend in its own name: its key, and whatever headers the operator has set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..errors import Header

MIN_MASKED = 8
"""Characters that a secret must have to be masked in errors: shorter ones stand in texts by chance."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """`credential` is the header with the key; `secrets` are what no caller may see in an answer."""

    credential: Header | None
    headers: list[Header]
    secrets: list[bytes]

    @classmethod
    def read(
        cls, upstream: str, api_key: str | None, api_key_header: str, headers: Mapping[str, str]
    ) -> Credentials:
        """The key goes into `api_key_header`, as a bearer token if that is Authorization (RFC 6750 2.1).

        Raises `ConfigError` for what no header can carry; it does not show it.
        """
        credential = None
        if api_key is not None:
            name = api_key_header.lower().encode("ascii")
            scheme = b"Bearer " if name == b"authorization" else b""
            credential = name, scheme + _carried(upstream, "its api_key", api_key)
        own = [
            (name.lower().encode("ascii"), _carried(upstream, f"its header {name}", value))
            for name, value in headers.items()
        ]
        secrets = [*headers.values(), *([] if api_key is None else [api_key])]
        return cls(
            credential, own, [secret.encode("ascii") for secret in secrets if len(secret) >= MIN_MASKED]
        )


def _carried(upstream: str, what: str, value: str) -> bytes:
    if not value.isascii() or not value.isprintable() or not value.strip():
        raise ConfigError(
            [f'upstream "{upstream}": {what} is empty or holds characters that no header can carry']
        )
    return value.encode("ascii")
