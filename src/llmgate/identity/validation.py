"""What a name may be: of a user, a key, an organization, a role. By PRECIS (RFC 8264), whose tables are a library's."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ..errors import BadRequest
from .scripts import mixes_scripts, piles_marks

if TYPE_CHECKING:
    from precis_i18n.profile import Profile

MAX_LENGTH = 255


def name_of(what: str, text: str) -> str:
    """`text` as the name of `what`: RFC 8265's OpaqueString, which is NFC without what nobody sees.

    Raises `BadRequest` unless it has 1 to 255 characters, none of them invisible, and no space around it.
    """
    if not text or len(text) > MAX_LENGTH:
        raise BadRequest(f"The {what} must have 1 to {MAX_LENGTH} characters.", param=what)
    if text != text.strip():
        raise BadRequest(f"The {what} must not begin or end with a space.", param=what)
    try:
        return _profile("OpaqueString").enforce(text)
    except UnicodeEncodeError as error:
        message = f"The {what} must not hold control or invisible characters."
        raise BadRequest(message, param=what) from error


def username_of(text: str, what: str = "username") -> str:
    """`text` as the name of a user: RFC 8265's UsernameCaseMapped, so that names that look alike are one.

    Wide and narrow forms become the usual ones, capitals small letters; parts may be parted by single spaces (3.1
    there). Letters of several scripts in one word, and words that are all letters like Latin ones, are refused
    besides, which PRECIS leaves to us (RFC 8264 12.5). Raises `BadRequest`.
    """
    name_of(what, text)
    try:
        name = " ".join(_profile("UsernameCaseMapped").enforce(part) for part in text.split(" "))
    except UnicodeEncodeError as error:
        message = (
            f"The {what} must be of letters, digits and ASCII's signs, in one direction of writing, with single "
            "spaces between its words."
        )
        raise BadRequest(message, param=what) from error
    if mixes_scripts(name) or piles_marks(name):
        message = (
            f"The {what} must not look like another one: letters of one script in each word, and few marks."
        )
        raise BadRequest(message, param=what)
    if len(name) > MAX_LENGTH:
        raise BadRequest(f"The {what} must have 1 to {MAX_LENGTH} characters.", param=what)
    return name


def email_of(text: str) -> str:
    """`text` as an e-mail address, by the rules for users' names. Raises `BadRequest` unless it is like one.

    Only sending to it tells whether an address is good (RFC 5321, 4.5.3.1 gives 254 characters at most).
    """
    address = username_of(text, "email")
    local, at, domain = address.rpartition("@")
    if not (local and at and domain) or " " in address or "@" in local or len(address) > 254:
        raise BadRequest("The email is not an e-mail address.", param="email")
    return address


@cache
def _profile(name: str) -> Profile:
    from precis_i18n import get_profile  # noqa: PLC0415 - tables that a gate without users need not load

    return get_profile(name)
