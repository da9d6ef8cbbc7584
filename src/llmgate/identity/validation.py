"""What a name may be: of a user, a key, an organization, a role."""

from __future__ import annotations

import unicodedata

from ..errors import BadRequest

MAX_LENGTH = 255

# Control, format (invisible, or turning the text's direction), surrogate, private, line and paragraph ends:
# nothing that could forge a line in a log or look like another name.
_REFUSED = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def name_of(what: str, text: str) -> str:
    """`text` as the name of `what`, in Unicode's NFC, so that equal looking names are equal.

    Raises `BadRequest` unless it has 1 to 255 characters, none of them invisible, and no space around it.
    """
    if not text or len(text) > MAX_LENGTH:
        raise BadRequest(f"The {what} must have 1 to {MAX_LENGTH} characters.", param=what)
    if any(unicodedata.category(character) in _REFUSED for character in text):
        raise BadRequest(f"The {what} must not hold control or invisible characters.", param=what)
    if text != text.strip():
        raise BadRequest(f"The {what} must not begin or end with a space.", param=what)
    return unicodedata.normalize("NFC", text)


def email_of(text: str) -> str:
    """`text` as an e-mail address, in lower case. Raises `BadRequest` unless it is like one.

    Only sending to it tells whether an address is good (RFC 5321, 4.5.3.1 gives 254 characters at most).
    """
    address = name_of("email", text).lower()
    local, at, domain = address.rpartition("@")
    if not (local and at and domain) or " " in address or "@" in local or len(address) > 254:
        raise BadRequest("The email is not an e-mail address.", param="email")
    return address
