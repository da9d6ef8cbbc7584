"""Failed log-ins: each further one makes the next wait longer, for the address and for the account."""

import pytest
import sqlalchemy as sa
from stores import Clock

from llmgate.errors import RateLimited
from llmgate.identity.login_limits import (
    FORGOTTEN_AFTER_S,
    OF_ACCOUNT,
    OF_ADDRESS,
    TRUSTED_FOR_S,
    LoginLimits,
    network_of,
)
from llmgate.store import Store
from llmgate.store.schema import login_failures

HERE, THERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
def limits(store: Store) -> LoginLimits:
    return LoginLimits(store)


async def wait(limits: LoginLimits, account: str, address: str | None) -> int:
    """Seconds that a log-in has to wait."""
    try:
        await limits.check(account, address)
    except RateLimited as refusal:
        return refusal.retry_after
    return 0


async def test_the_pause_of_an_account_doubles_up_to_a_bound(limits: LoginLimits, clock: Clock) -> None:
    pauses = []
    for number in range(OF_ACCOUNT.free + 9):
        await limits.failed("ann", f"203.0.113.{number}")  # a guesser with many addresses
        pauses.append(await wait(limits, "ann", "203.0.113.200"))
        clock.pass_by(pauses[-1])
    assert pauses == [0] * OF_ACCOUNT.free + [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert await wait(limits, "bob", "203.0.113.200") == 0


async def test_the_pause_of_an_address_holds_for_every_account(limits: LoginLimits, clock: Clock) -> None:
    """One guess at each of many accounts is slowed, too."""
    for number in range(OF_ADDRESS.free + 4):
        await limits.failed(f"user-{number}", HERE)
    assert await wait(limits, "ann", HERE) == 8
    assert await wait(limits, "ann", THERE) == 0
    clock.pass_by(8)
    assert await wait(limits, "ann", HERE) == 0


async def test_workers_count_together(store: Store, clock: Clock) -> None:
    """A guesser has no more tries where more of them listen."""
    workers = [LoginLimits(store) for _ in range(4)]
    for number in range(OF_ACCOUNT.free + 3):
        await workers[number % 4].failed("ann", f"203.0.113.{number}")
    assert [await wait(worker, "ann", THERE) for worker in workers] == [4] * 4
    await workers[0].succeeded("ann", THERE)
    assert [await wait(worker, "ann", HERE) for worker in workers] == [0] * 4


async def test_the_owner_gets_in_from_where_the_owner_was_before(limits: LoginLimits, clock: Clock) -> None:
    """However many others guess at the account."""
    await limits.succeeded("ann", HERE)
    for number in range(30):
        await limits.failed("ann", f"203.0.113.{number}")
    assert await wait(limits, "ann", THERE) > 0
    assert await wait(limits, "ann", HERE) == 0
    clock.pass_by(TRUSTED_FOR_S)
    for number in range(30):
        await limits.failed("ann", f"203.0.113.{number}")
    assert await wait(limits, "ann", HERE) > 0


async def test_success_forgets_the_accounts_failures_and_not_the_addresses(limits: LoginLimits) -> None:
    """Or a guesser with one good account would guess for ever."""
    for _ in range(OF_ADDRESS.free + 1):
        await limits.failed("ann", HERE)
    await limits.succeeded("ann", HERE)
    assert await wait(limits, "ann", THERE) == 0
    assert await wait(limits, "mallory", HERE) == 1


async def test_what_is_long_past_is_forgotten(limits: LoginLimits, clock: Clock, store: Store) -> None:
    for _ in range(OF_ACCOUNT.free + 5):
        await limits.failed("ann", None)
    clock.pass_by(FORGOTTEN_AFTER_S + 1)
    assert await wait(limits, "ann", None) == 0
    await limits.failed("bob", None)
    async with store.connect() as db:
        assert await db.scalar(sa.select(sa.func.count()).select_from(login_failures)) == 1
    await limits.failed("ann", None)
    assert await wait(limits, "ann", None) == 0


async def test_a_clock_that_goes_back_locks_nobody_out(limits: LoginLimits, clock: Clock) -> None:
    for _ in range(OF_ACCOUNT.free + 2):
        await limits.failed("ann", None)
    clock.pass_by(-3600)
    assert await wait(limits, "ann", None) == 2


async def test_what_was_typed_is_not_in_the_table(limits: LoginLimits, store: Store) -> None:
    """Some type their password where the name belongs; some what is no text."""
    for account in ("my secret password", "\ud800"):
        await limits.failed(account, HERE)
        await limits.succeeded(account, HERE)
        await limits.failed(account, HERE)
    async with store.connect() as db:
        rows = (await db.execute(sa.select(login_failures))).all()
    assert all(len(row.key) == 32 and "secret" not in row.key for row in rows)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
    ],
)
def test_what_one_client_may_own_is_one_client(address: str, network: str) -> None:
    assert network_of(address) == network
