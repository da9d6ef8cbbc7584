"""A payment service for tests: it knows each purchase by its id, and fails when told to."""

from collections import Counter
from dataclasses import dataclass, field

from llmgate.identity import Identity
from llmgate.ledger import Quotas, Subject
from llmgate.plugin.kit.access import Payer
from llmgate.store import Store
from llmgate_leaky_tokens.events import announce
from llmgate_leaky_tokens.payments import Manual
from llmgate_leaky_tokens.providers import Provider
from llmgate_leaky_tokens.quotas import ProviderQuotas
from llmgate_leaky_tokens.saga import Purchase, Purchases
from llmgate_leaky_tokens.steps import Steps

PATIENCE = 3600.0


@dataclass
class Bank:
    """`Payment` with a memory: which purchases are reserved, captured, cancelled, and how often it was asked."""

    state: dict[str, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    failures: dict[str, list[Exception]] = field(default_factory=dict)

    async def reserve(self, purchase: Purchase) -> str:
        self._ask("reserve")
        self.state.setdefault(purchase.id, "reserved")
        return f"payment-of-{purchase.id}"

    async def capture(self, purchase: Purchase) -> None:
        self._ask("capture")
        assert self.state[purchase.id] in ("reserved", "captured")
        self.state[purchase.id] = "captured"

    async def cancel(self, purchase: Purchase) -> None:
        self._ask("cancel")
        self.state[purchase.id] = "cancelled"

    def fail(self, verb: str, *errors: Exception) -> None:
        """Raise `errors`, one after the other, when next asked to `verb`."""
        self.failures[verb] = list(errors)

    def _ask(self, verb: str) -> None:
        self.asked[verb] += 1
        if self.failures.get(verb):
            raise self.failures[verb].pop(0)


@dataclass
class Shop:
    """A process that sells tokens: opening another one on the same store is what a restart does."""

    store: Store
    bank: Bank = field(default_factory=Bank)

    def __post_init__(self) -> None:
        self.purchases = Purchases(self.store, announce=announce)
        quotas = ProviderQuotas(Quotas(self.store), {"openai": Provider(model="m")})
        self.steps = Steps(self.purchases, self.bank, quotas, timeout=PATIENCE, clock=self.store.clock)

    async def payer(self, name: str = "myuser") -> Payer:
        return Payer(await Identity.over(self.store).users.register(name, None))

    async def start(self, payer: Payer, tokens: int = 1000, key: str | None = None) -> Purchase:
        return await self.purchases.start(payer, "openai", tokens, key)

    async def total(self, payer: Payer) -> int:
        """The limit that the payer's quota has come to."""
        subject = Subject("user", payer.user.id)
        return sum([balance.allotment.limit for balance in await Quotas(self.store).of(subject)])


def manual(store: Store) -> Shop:
    shop = Shop(store)
    shop.steps._payment = Manual()
    return shop
