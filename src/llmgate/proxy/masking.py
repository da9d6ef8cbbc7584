"""The gate's own key in what a backend answers: some quote it in their errors, and callers must not see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..errors import Header
    from .engines.base import UpstreamResponse

MASK = b"*"


class Masker:
    """Puts `*` in the place of each byte of `secret` in what is fed to it: lengths stay as they are announced."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._mask = MASK * len(secret)
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """`data`, and what was kept before, without the end that may begin the secret."""
        data = (self._kept + data).replace(self._secret, self._mask)
        keep = self._overlap(data)
        self._kept = data[len(data) - keep :]
        return data[: len(data) - keep]

    def flush(self) -> bytes:
        """What was kept: nothing more comes."""
        kept, self._kept = self._kept, b""
        return kept

    def _overlap(self, data: bytes) -> int:
        """The length of the longest end of `data` that begins the secret."""
        longest = min(len(data), len(self._secret) - 1)
        return next((size for size in range(longest, 0, -1) if self._secret.startswith(data[-size:])), 0)


class MaskedResponse:
    """An `UpstreamResponse` whose headers and body do not show `secret`."""

    def __init__(self, response: UpstreamResponse, secret: bytes) -> None:
        self._response = response
        self._masker = Masker(secret)
        self._flushed = False
        mask = MASK * len(secret)
        self.status = response.status
        self.headers: list[Header] = [(name, value.replace(secret, mask)) for name, value in response.headers]

    @property
    def ended(self) -> bool:
        """See `UpstreamResponse`."""
        return self._flushed

    async def read(self) -> bytes:
        """See `UpstreamResponse`."""
        while True:
            piece = await self._response.read()
            shown = self._masker.feed(piece)
            if not piece or self._response.ended:
                self._flushed = True
                return shown + self._masker.flush()
            if shown:
                return shown

    def abort(self) -> None:
        """See `UpstreamResponse`."""
        self._response.abort()
