"""What the operator decides."""

import msgspec
import pytest

from llmgate.config import Secret
from llmgate.plugin.kit.webhooks import WebhookSettings
from llmgate_leaky_tokens.providers import Provider
from llmgate_leaky_tokens.settings import Settings
from llmgate_leaky_tokens.stripe_payments import StripeSettings

PROVIDERS = {"openai": Provider(model="m")}
STRIPE = StripeSettings(api_key=Secret("sk"), price=1)


def test_there_is_a_provider() -> None:
    """Without one nothing can be sold."""
    with pytest.raises(ValueError, match=r"providers: there is none: add \[plugins"):
        Settings(providers={})


@pytest.mark.parametrize(("payment", "stripe"), [("stripe", None), ("manual", STRIPE), ("instant", STRIPE)])
def test_stripe_and_its_terms_go_together(payment: str, stripe: StripeSettings | None) -> None:
    """Terms that nobody asks for are a mistake, too."""
    with pytest.raises(ValueError, match="go together"):
        Settings(providers=PROVIDERS, payment=payment, stripe=stripe)  # type: ignore[arg-type]
    assert Settings(providers=PROVIDERS, payment="stripe", stripe=STRIPE).stripe is STRIPE


def test_a_secret_that_can_be_guessed_signs_nothing() -> None:
    """It is told how to make another."""
    weak = WebhookSettings(url="http://127.0.0.1:1", secret=Secret("guess"))
    with pytest.raises(ValueError, match="openssl rand"):
        Settings(providers=PROVIDERS, webhook=weak)


@pytest.mark.parametrize(
    ("public", "payment", "keys"),
    [(True, "instant", ["payment"]), (False, "instant", []), (True, "manual", [])],
)
def test_tokens_for_nothing_are_warned_of_where_strangers_come(
    public: bool, payment: str, keys: list[str]
) -> None:
    """By the key that gives them away."""
    settings = msgspec.convert({"providers": {"openai": {"model": "m"}}, "payment": payment}, Settings)
    assert [key for key, _ in settings.warnings(public)] == keys
