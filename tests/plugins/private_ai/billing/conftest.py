"""The gate with Stripe set up, as a stateful peer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mail_server import Mailbox
from stores import Clock

from plugins.private_ai.billing.paying import CHIEF, SECRET
from plugins.private_ai.gate import Running, running_gate
from plugins.private_ai.stripe_peer import KEY, StripePeer, stripe_peer


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[StripePeer]:
    pytest.importorskip("stripe")
    async with stripe_peer(tmp_path) as peer:
        yield peer


@pytest.fixture
def clock() -> Clock:
    """Stripe signs by the real time, and what it signed is good for five minutes."""
    return Clock(time.time())


@pytest.fixture
async def paid(store_file: Path, mailbox: Mailbox, clock: Clock, peer: StripePeer) -> AsyncIterator[Running]:
    """The gate with Stripe set up, a team, and its chief."""

    def change(document: dict[str, Any]) -> None:
        document["plugins"]["llmgate_private_ai"] |= {
            "stripe": {"api_key": KEY, "webhook_secret": SECRET, "api_base": peer.url},
            "allowed_networks": ["127.0.0.0/8"],
        }

    async with running_gate(store_file, mailbox, clock, change=change) as running:
        team = await running.team("Bees")
        await running.user(CHIEF, team_id=team, role="admin")
        yield running
