"""How often something happened in the last minute or so, by key: moving windows. Knows not what is counted.

The counts live in this process. Only so many keys are kept, those that were counted last: whoever comes from ever new
addresses costs no memory. To count takes no turn of the event loop, so that what comes at once is counted one by one.
"""

import math
import time
from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address

from cachetools import LRUCache
from limits import RateLimitItem

MAX_KEYS_COUNTED = 10_000
IPV6_PREFIX = 64
"""Bits of an IPv6 address that name the network of one customer, who has every address in it (RFC 6177)."""
_LONGEST = 64
"""Characters of what is no address. Of an address there are at most 45, and the name of a zone."""


class MovingWindows:
    """The moments of what was counted, as many of each key as the limit allows."""

    def __init__(self, limit: RateLimitItem, keys: int = MAX_KEYS_COUNTED) -> None:
        self.limit = limit
        self._seconds = limit.get_expiry()
        self._moments: LRUCache[Hashable, tuple[float, ...]] = LRUCache(keys)

    def count(self, key: Hashable) -> None:
        self._moments[key] = (*self._moments.get(key, ()), time.monotonic())[-self.limit.amount :]

    def wait(self, key: Hashable) -> int:
        """Seconds until the limit allows one more; 0 where it does now."""
        moments = self._moments.get(key, ())
        if len(moments) < self.limit.amount:
            return 0
        return max(0, math.ceil(moments[0] + self._seconds - time.monotonic()))


def network_of(address: str) -> str:
    """Under what a client's address is counted: an IPv4 address by itself, an IPv6 address by its network of 64 bits.

    An IPv4 address in the form of IPv6 (::ffff:192.0.2.1) is counted as what it is, and what is no address as one text.
    """
    try:
        found = ip_address(address[: 2 * _LONGEST])
    except ValueError:
        return address[:_LONGEST]
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return f"{IPv6Address(int(found) >> 128 - IPV6_PREFIX << 128 - IPV6_PREFIX)}/{IPV6_PREFIX}"
