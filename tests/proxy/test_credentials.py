"""The gate's own key and headers, as they go to a backend."""

import pytest

from llmgate.errors import ConfigError
from llmgate.proxy.credentials import Credentials


@pytest.mark.parametrize(
    ("header", "sent"),
    [
        ("authorization", (b"authorization", b"Bearer sk-its-own")),
        ("x-api-key", (b"x-api-key", b"sk-its-own")),
        ("api-key", (b"api-key", b"sk-its-own")),
    ],
)
def test_a_key_is_a_bearer_token_in_authorization_and_bare_elsewhere(
    header: str, sent: tuple[bytes, bytes]
) -> None:
    """Anthropic wants x-api-key, Azure api-key."""
    assert Credentials.read("up", "sk-its-own", header, {}).credential == sent


def test_headers_are_sent_in_lower_case_and_masked_as_the_key_is() -> None:
    own = Credentials.read("up", "sk-its-own", "authorization", {"X-Team": "gate", "X-Token": "t-12345678"})
    assert own.headers == [(b"x-team", b"gate"), (b"x-token", b"t-12345678")]
    assert own.secrets == [b"t-12345678", b"sk-its-own"]  # "gate" stands in many texts


@pytest.mark.parametrize("value", ["", " ", "a\r\nb: c", "\u00fc-secret"])
def test_what_no_header_can_carry_is_refused_without_showing_it(value: str) -> None:
    for key, headers in ((value, {}), (None, {"x-team": value})):
        with pytest.raises(ConfigError, match="no header can carry") as caught:
            Credentials.read("up", key, "authorization", headers)
        assert not value.strip() or value not in str(caught.value)
