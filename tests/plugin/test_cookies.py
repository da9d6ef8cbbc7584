"""Cookies as browsers get them."""

from llmgate.plugin.cookies import SESSION_COOKIE, Cookie


def test_a_cookie_is_for_this_site_and_no_script() -> None:
    """Unless it says otherwise."""
    name, value = Cookie(SESSION_COOKIE, "abc", max_age=1800).header
    assert name == b"set-cookie"
    assert value.split(b"; ") == [
        b"access_token=abc",
        b"HttpOnly",
        b"Max-Age=1800",
        b"Path=/",
        b"SameSite=Lax",
    ]


def test_a_cookie_for_https_says_so() -> None:
    """And for which host."""
    value = Cookie("a", "b", secure=True, domain="example.com", same_site="none", http_only=False).header[1]
    assert value.split(b"; ") == [b"a=b", b"Domain=example.com", b"Path=/", b"SameSite=None", b"Secure"]


def test_a_cookie_is_cleared_where_it_was_set() -> None:
    """A browser knows a cookie by name, domain and path (RFC 6265, 5.3)."""
    value = Cookie("a", "b", path="/api", domain="example.com").cleared.header[1]
    assert value.split(b"; ")[0] == b'a=""'
    assert {b"Max-Age=0", b"Path=/api", b"Domain=example.com"} <= {*value.split(b"; ")}


def test_the_value_does_not_show() -> None:
    assert "secret" not in repr(Cookie("a", "secret"))
