"""What the operations stand on: made once, when the plugin opens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmgate.plugin.api import Services
    from llmgate.plugin.kit.vector_databases import VectorServers

    from .billing.webhooks import Webhooks
    from .key_terms import KeyTerms
    from .keys import Keys
    from .mails import Mails
    from .people import People
    from .products import Products
    from .regions import Regions
    from .settings import Settings
    from .teams import Teams


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The gate's services and this surface's own. `wake` has the job run that ends what was cut."""

    settings: Settings
    gate: Services
    people: People
    teams: Teams
    products: Products
    regions: Regions
    servers: VectorServers
    keys: Keys
    terms: KeyTerms
    mails: Mails
    webhooks: Webhooks
    wake: Callable[[], object]
