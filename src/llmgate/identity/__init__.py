"""Who uses the gate: users, passwords, sessions, keys, organizations, for the core and every surface."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .keys import Key, Keys
from .new_keys import Scope
from .organizations import Member, Membership, Organization, Organizations
from .passwords import PasswordRules, Passwords
from .sessions import LIFETIME, MAX_AGE, Session, Sessions
from .signing import Algorithm
from .users import ADMIN, User, Users

if TYPE_CHECKING:
    from ..store import Store

__all__ = [
    "ADMIN",
    "Algorithm",
    "Identity",
    "Key",
    "Keys",
    "Member",
    "Membership",
    "Organization",
    "Organizations",
    "PasswordRules",
    "Passwords",
    "Scope",
    "Session",
    "Sessions",
    "User",
    "Users",
]


@dataclass(frozen=True, slots=True)
class Identity:
    """The services of one store, as surfaces and the command line get them."""

    users: Users
    sessions: Sessions
    keys: Keys
    organizations: Organizations

    @classmethod
    def over(
        cls,
        store: Store,
        *,
        passwords: PasswordRules | None = None,
        lifetime: float = LIFETIME,
        max_age: float = MAX_AGE,
        algorithm: Algorithm = "HS256",
        issuer: str = "llmgate",
        new_id: Callable[[], object] = uuid.uuid4,
    ) -> Identity:
        """The services over `store`; `lifetime` and `max_age` of sessions in seconds."""
        return cls(
            Users(store, Passwords(passwords or PasswordRules()), new_id=new_id),
            Sessions(
                store,
                lifetime=lifetime,
                max_age=max_age,
                algorithm=algorithm,
                issuer=issuer,
                new_id=new_id,
            ),
            Keys(store, new_id=new_id),
            Organizations(store, new_id=new_id),
        )
