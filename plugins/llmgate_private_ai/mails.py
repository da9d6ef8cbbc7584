"""What the mails say."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from llmgate.plugin.kit.mail_templates import Template

if TYPE_CHECKING:
    from llmgate.plugin.kit.mail import Mailer


_CODE_LASTS = "It opens your account once, within {minutes} minutes. Nobody else will ever ask you for it."
_NOT_YOU = "If you did not ask for this, you need not do anything."
_PLAN = "{dashboard}/upgrade?token={token}"

TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        "new-user-code": Template(
            "Your sign-in code",
            ("Welcome! This code confirms your address and signs you in:", _CODE_LASTS, _NOT_YOU),
            code="{code}",
        ),
        "returning-user-code": Template(
            "Your sign-in code",
            ("Welcome back! This code signs you in:", _CODE_LASTS, _NOT_YOU),
            code="{code}",
        ),
        "returning-user-url": Template(
            "Your new sign-in link",
            ("The link that you followed has expired. Here is another, good for an hour:",),
            link=_PLAN,
            label="Sign in",
        ),
        "invitation": Template(
            "{inviter} invites you to {team}",
            (
                "{inviter} has added you to the team {team} as {role}.",
                "Sign in with this address; without a password, a code is mailed to you.",
            ),
            link="{dashboard}/auth/login",
            label="Sign in",
        ),
        "team-expiring": Template(
            "{days} days left of the trial of {team}",
            (
                "The trial of {team} ends in {days} days. All of its keys stop working then.",
                "Choose a plan, and they go on as they are.",
            ),
            link=_PLAN,
            label="Choose a plan",
        ),
        "trial-expired": Template(
            "The trial of {team} has ended",
            (
                "The trial of {team} has ended, and its keys have stopped working. Nothing was deleted.",
                "Choose a plan, and they work again.",
            ),
            link=_PLAN,
            label="Choose a plan",
        ),
        "trial-extended": Template(
            "The trial of {team} goes on",
            ("The trial of {team} was extended by {days} days, and its keys have a new budget.",),
            link="{dashboard}/private-ai-keys",
            label="See your keys",
        ),
        "always-free": Template(
            "{team} is free from now on",
            ("{team} need not pay any more: its keys have no trial to end.",),
            link="{dashboard}/private-ai-keys",
            label="See your keys",
        ),
    }
)


class Mails:
    """Sends what `TEMPLATES` has. `dashboard` is where links go."""

    def __init__(self, mailer: Mailer, *, dashboard: str) -> None:
        self._mailer = mailer
        self._dashboard = dashboard.rstrip("/")

    async def send(self, template: str, to: str, **values: object) -> None:
        """Raises `MailFailed`, and `BadRequest` for an address that mail cannot go to."""
        await self._mailer.send(TEMPLATES[template].render(to, {"dashboard": self._dashboard, **values}))
