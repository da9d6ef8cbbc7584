"""Limits of failed log-ins, of an address and of an account, which grow with every further failure.

They are kept by each process for itself: of N workers a guesser gets N times as many tries, each as slow.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import RateLimited

REMEMBERED = 10_000
FORGOTTEN_AFTER_S = 900.0
"""Without a failure for so long, what failed before does not count any more."""


@dataclass(frozen=True, slots=True)
class Growth:
    """So many failures are `free`; each further one doubles the pause, from one second to `longest_s`."""

    free: int
    longest_s: float

    def pause(self, failures: int) -> float:
        """Seconds until the next try, after so many failures."""
        over = failures - self.free
        return 0.0 if over <= 0 else min(self.longest_s, 2.0 ** min(over - 1, 32))


OF_ADDRESS = Growth(free=20, longest_s=300.0)
"""Many people may sit behind one address."""
OF_ACCOUNT = Growth(free=10, longest_s=60.0)
"""Short: whoever guesses at an account must not be able to keep its owner out."""


class LoginLimits:
    """What failed lately. `timer` tells monotonic seconds; what is remembered is bounded."""

    def __init__(self, *, timer: Callable[[], float] = time.monotonic, remembered: int = REMEMBERED) -> None:
        self._timer = timer
        self._remembered = remembered
        self._failed: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._good: OrderedDict[tuple[str, str], None] = OrderedDict()

    def check(self, account: str, address: str | None) -> None:
        """Raise `RateLimited` while either must wait.

        An address from which the account was logged in to before does not wait for what others got wrong.
        """
        now = self._timer()
        wait = max(
            (self._until(key, growth) - now for key, growth in self._keys(account, address)), default=0.0
        )
        if wait > 0:
            raise RateLimited("Too many failed log-ins. Try again later.", retry_after=math.ceil(wait))

    def failed(self, account: str, address: str | None) -> None:
        """Count a failure."""
        now = self._timer()
        for key, _ in self._keys(account, address):
            failures, last = self._failed.pop(key, (0, now))
            self._failed[key] = (1 if now - last > FORGOTTEN_AFTER_S else failures + 1), now
            if len(self._failed) > self._remembered:
                self._failed.popitem(last=False)

    def succeeded(self, account: str, address: str | None) -> None:
        """Forget what failed of the account; what else failed of the address still counts."""
        self._failed.pop(("account", account), None)
        if address is not None:
            pair = (account, network_of(address))
            self._good.pop(pair, None)
            self._good[pair] = None
            if len(self._good) > self._remembered:
                self._good.popitem(last=False)

    def _keys(self, account: str, address: str | None) -> Iterator[tuple[tuple[str, str], Growth]]:
        network = None if address is None else network_of(address)
        if network is not None:
            yield ("address", network), OF_ADDRESS
        if network is None or (account, network) not in self._good:
            yield ("account", account), OF_ACCOUNT

    def _until(self, key: tuple[str, str], growth: Growth) -> float:
        failures, last = self._failed.get(key, (0, -math.inf))
        return last + growth.pause(failures) if self._timer() - last <= FORGOTTEN_AFTER_S else -math.inf


def network_of(address: str) -> str:
    """What one client may be taken to own: an IPv4 address, or the /64 of an IPv6 one (RFC 6177)."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
