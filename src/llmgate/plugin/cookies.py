"""Cookies that operations set and clear (RFC 6265)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..errors import Header

SESSION_COOKIE = "access_token"
"""The cookie that `Authentication` reads, where an operation takes the credential "cookie"."""


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie as `Set-Cookie` gives it to a browser. `max_age` in seconds; None: until the browser closes.

    `same_site` "lax" keeps it out of what other sites' pages send, except for links that are followed;
    `secure` has to be set exactly where the public address is https: over http such a cookie is lost.
    """

    name: str
    value: str
    max_age: int | None = None
    path: str = "/"
    domain: str | None = None
    secure: bool = False
    http_only: bool = True
    same_site: Literal["strict", "lax", "none"] = "lax"

    def __repr__(self) -> str:
        return f"Cookie({self.name!r}, '***')"

    @property
    def cleared(self) -> Cookie:
        """The same cookie, told to go."""
        return replace(self, value="", max_age=0)

    @property
    def header(self) -> Header:
        """The header of the answer."""
        jar: SimpleCookie = SimpleCookie({self.name: self.value})
        morsel = jar[self.name]
        morsel["path"] = self.path
        morsel["samesite"] = self.same_site.capitalize()
        if self.max_age is not None:
            morsel["max-age"] = str(self.max_age)
        if self.domain is not None:
            morsel["domain"] = self.domain
        morsel["secure"] = self.secure
        morsel["httponly"] = self.http_only
        return b"set-cookie", morsel.OutputString().encode("latin-1")
