"""Who makes a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..permissions import NOTHING_SAID

if TYPE_CHECKING:
    from ..permissions import Permissions


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request, as proven by a credential.

    `key_id` or `session_id` says by which; `organization_id` is the organization that the key belongs to
    or that the session acts for, if any. `scope` is what a key is good for ("account" or "models"; None: all),
    `requests_per_minute` the limit that it has of its own. `key_may` and `organization_may` are what else was said of
    them; both hold.
    """

    user_id: int
    username: str
    roles: frozenset[str] = frozenset()
    key_id: int | None = None
    session_id: str | None = None
    organization_id: int | None = None
    scope: str | None = None
    requests_per_minute: int | None = None
    organization_requests_per_minute: int | None = None
    key_may: Permissions | None = None
    organization_may: Permissions | None = None

    @property
    def priority(self) -> int:
        """The class in which its requests wait for an engine: the key's, else the organization's."""
        own = (self.key_may or NOTHING_SAID).priority
        return ((self.organization_may or NOTHING_SAID).priority or 0) if own is None else own

    def may_ask(self, model: str) -> bool:
        """Whether it may ask for the model that callers call so."""
        key, organization = self.key_may, self.organization_may
        return (key is None or key.allows_model(model)) and (
            organization is None or organization.allows_model(model)
        )

    @property
    def held_to_models(self) -> bool:
        """Whether there are models that it may not ask for."""
        key, organization = self.key_may, self.organization_may
        return (key is not None and key.models is not None) or (
            organization is not None and organization.models is not None
        )
