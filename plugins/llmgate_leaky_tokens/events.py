"""What purchases and consumptions tell the outside: to the gate's webhook and to a stream in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmgate.plugin.kit.formats import rfc3339
from llmgate.plugin.kit.outbox import Outbox, add_event

from .consume import SURFACE
from .tables import OUTBOX

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import Store
    from llmgate.plugin.kit.outbox import Sink

    from .saga import Purchase


def outbox_of(store: Store, sinks: list[Sink]) -> Outbox:
    """What tells `sinks` of purchases and consumptions."""
    return Outbox(store, OUTBOX, sinks, surface=SURFACE, tell=consumption)


def consumption(record: sa.Row[Any]) -> tuple[str, dict[str, Any]] | None:
    """The event of a usage record: allowed or denied. What failed was given back and is none."""
    if record.outcome not in ("finished", "refused"):
        return None
    allowed = record.outcome == "finished"
    return "tokens.consumed" if allowed else "tokens.denied", {
        "requestId": record.request_id,
        "userId": record.uuid,
        "provider": record.upstream,
        "tokens": record.booked,
        "allowed": allowed,
    }


async def announce(db: AsyncConnection, purchase: Purchase) -> None:
    """Tell the outside of the purchase's new status, if anybody listens."""
    payload = {
        "purchaseId": purchase.id,
        "provider": purchase.provider,
        "tokens": purchase.tokens,
        "status": purchase.status,
        "failure": purchase.failure,
        "createdAt": rfc3339(purchase.created_at),
        "updatedAt": rfc3339(purchase.updated_at),
    }
    kind = f"purchase.{purchase.status.lower()}"
    await add_event(db, OUTBOX, purchase.id, kind, payload, at=purchase.updated_at)
