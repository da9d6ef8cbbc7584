"""Failed log-ins: each further one makes the next wait longer, for the address and for the account."""

import pytest

from llmgate.errors import RateLimited
from llmgate.identity.login_limits import FORGOTTEN_AFTER_S, OF_ACCOUNT, OF_ADDRESS, LoginLimits, network_of

HERE, THERE = "192.0.2.1", "198.51.100.7"


class Timer:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def timer() -> Timer:
    return Timer()


@pytest.fixture
def limits(timer: Timer) -> LoginLimits:
    return LoginLimits(timer=timer)


def wait(limits: LoginLimits, account: str, address: str | None) -> int:
    """Seconds that a log-in has to wait."""
    try:
        limits.check(account, address)
    except RateLimited as refusal:
        return refusal.retry_after
    return 0


def test_the_pause_of_an_account_doubles_up_to_a_bound(limits: LoginLimits, timer: Timer) -> None:
    pauses = []
    for number in range(OF_ACCOUNT.free + 9):
        limits.failed("ann", f"203.0.113.{number}")  # a guesser with many addresses
        pauses.append(wait(limits, "ann", "203.0.113.200"))
        timer.now += pauses[-1]
    assert pauses == [0] * OF_ACCOUNT.free + [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert wait(limits, "bob", "203.0.113.200") == 0


def test_the_pause_of_an_address_holds_for_every_account(limits: LoginLimits, timer: Timer) -> None:
    """One guess at each of many accounts is slowed, too."""
    for number in range(OF_ADDRESS.free + 4):
        limits.failed(f"user-{number}", HERE)
    assert wait(limits, "ann", HERE) == 8
    assert wait(limits, "ann", THERE) == 0
    timer.now += 8
    assert wait(limits, "ann", HERE) == 0


def test_the_owner_gets_in_from_where_the_owner_was_before(limits: LoginLimits) -> None:
    """However many others guess at the account."""
    limits.succeeded("ann", HERE)
    for number in range(100):
        limits.failed("ann", f"203.0.113.{number}")
    assert wait(limits, "ann", THERE) > 0
    assert wait(limits, "ann", HERE) == 0


def test_success_forgets_the_accounts_failures_and_not_the_addresses(limits: LoginLimits) -> None:
    """Or a guesser with one good account would guess for ever."""
    for _ in range(OF_ADDRESS.free + 1):
        limits.failed("ann", HERE)
    limits.succeeded("ann", HERE)
    assert wait(limits, "ann", THERE) == 0
    assert wait(limits, "mallory", HERE) == 1


def test_what_is_long_past_is_forgotten(limits: LoginLimits, timer: Timer) -> None:
    for _ in range(OF_ACCOUNT.free + 5):
        limits.failed("ann", None)
    timer.now += FORGOTTEN_AFTER_S + 1
    limits.failed("ann", None)
    assert wait(limits, "ann", None) == 0


def test_what_is_remembered_is_bounded(timer: Timer) -> None:
    limits = LoginLimits(timer=timer, remembered=10)
    for number in range(1000):
        limits.failed(f"user-{number}", f"2001:db8:{number:x}::1")
        limits.succeeded(f"other-{number}", f"2001:db8:{number:x}::1")
    assert len(limits._failed) <= 10
    assert len(limits._good) <= 10


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
