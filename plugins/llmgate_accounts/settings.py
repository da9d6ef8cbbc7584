"""The keys of `[plugins.llmgate_accounts]`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct

from llmgate.plugin.kit.accounts import Registering
from llmgate.plugin.kit.formats import TokenCount


class Settings(Struct, frozen=True, kw_only=True):
    """The keys of `[plugins.llmgate_accounts]`."""

    route: Annotated[
        str | None, Meta(description="Name of the route that completions go to; without one, the only one.")
    ] = None
    registration: Registering = "open"
    token_limit: Annotated[
        TokenCount, Meta(description="Tokens for who registers without naming a limit.")
    ] = 10_000
    max_token_limit: Annotated[
        TokenCount | None,
        Meta(description="Most tokens that users may ask for; without it, any number, as in the guide."),
    ] = None
    may_raise: Annotated[
        bool,
        Meta(description="Users may raise their own limit, not only lower it; never over max_token_limit."),
    ] = False

    def __post_init__(self) -> None:
        if self.max_token_limit is not None and self.token_limit > self.max_token_limit:
            raise ValueError(
                f"token_limit ({self.token_limit}) is over max_token_limit ({self.max_token_limit}): "
                "lower one or raise the other"
            )

    def warnings(self, public: bool) -> Iterator[tuple[str, str]]:
        """What is good for trying and not for strangers."""
        if public and self.registration == "open" and self.max_token_limit is None:
            yield "max_token_limit", "without it, whoever registers takes any limit: set the most to ask for"
