"""The keys of `[plugins.llmgate_leaky_tokens]`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from llmgate.plugin.api import Name
from llmgate.plugin.kit.accounts import Registering
from llmgate.plugin.kit.webhooks import WebhookSettings

from .providers import Provider
from .stripe_payments import StripeSettings


def doc(text: str) -> Meta:
    """The documentation of a setting."""
    return Meta(description=text)


class Settings(Struct, frozen=True, kw_only=True):
    """What the operator decides."""

    providers: Annotated[
        Mapping[Name, Provider], doc("The AI providers; each NAME is one of gate.toml's [upstreams.NAME].")
    ]
    registration: Registering = "open"
    bucket_capacity: Annotated[
        int, Meta(ge=1, le=1_000_000_000), doc("Tokens that fit into the bucket of a user and provider.")
    ] = 1000
    bucket_leak: Annotated[
        float, Meta(gt=0, le=1e9), doc("Tokens that run out of a bucket every second.")
    ] = 10.0
    spends: Annotated[
        Literal["any", "own"],
        doc(
            "own: only what was given or bought for the provider itself, where other surfaces give tokens, too; "
            "any: also what somebody has for all upstreams."
        ),
    ] = "any"
    max_prompt: Annotated[
        int,
        Meta(ge=1, le=16 * 1024**2),
        doc(
            "Bytes of a consumption's prompt; what is sold are the tokens of answers, and prompts come with them."
        ),
    ] = 8192
    payment: Annotated[
        Literal["manual", "instant", "stripe"],
        doc("manual: an administrator approves purchases; instant: they cost nothing; stripe: cards."),
    ] = "manual"
    payment_timeout: Annotated[
        float, Meta(gt=0, le=31_536_000), doc("Seconds after which an unconfirmed purchase fails.")
    ] = 86_400.0
    stripe: Annotated[StripeSettings | None, doc('Stripe\'s terms, for payment = "stripe".')] = None
    webhook: Annotated[WebhookSettings | None, doc("Receives events of purchases and consumptions.")] = None
    redis_stream: Annotated[
        Name | None, doc("Stream in [limits_store] that gets the same events; without it, none.")
    ] = None
    analytics_roles: Annotated[
        tuple[Name, ...],
        doc("Roles of which a caller of analytics needs one; none: any user, as in the guide."),
    ] = ()

    def __post_init__(self) -> None:
        if not self.providers:
            raise ValueError("providers: there is none: add [plugins.llmgate_leaky_tokens.providers.NAME]")
        if (self.payment == "stripe") != (self.stripe is not None):
            raise ValueError('payment = "stripe" and [plugins.llmgate_leaky_tokens.stripe] go together')
        if self.webhook is not None:
            self.webhook.check()

    def warnings(self, public: bool) -> Iterator[tuple[str, str]]:
        """What is good for trying and not for strangers."""
        if public and self.payment == "instant":
            yield "payment", 'anybody buys tokens for nothing: write "manual" or "stripe"'
