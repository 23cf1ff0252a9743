"""Counts events by key in moving windows.

The counts are kept per process. Only the most recently counted keys are kept, so that a client with ever new addresses
does not exhaust memory. Counting does not yield to the event loop, so that concurrent events are counted one by one.
"""

import math
import time
from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address

from cachetools import LRUCache
from limits import RateLimitItem

MAX_KEYS_COUNTED = 10_000
IPV6_PREFIX = 64
"""Bits of an IPv6 address that identify the network of one customer, who has every address in it (RFC 6177)."""
_LONGEST = 64
"""The most characters of a text that is not an address. An address has at most 45, and the name of a zone."""


class MovingWindows:
    """The times of the counted events, for each key as many as the limit allows."""

    def __init__(self, limit: RateLimitItem, keys: int = MAX_KEYS_COUNTED) -> None:
        self.limit = limit
        self._seconds = limit.get_expiry()
        self._moments: LRUCache[Hashable, tuple[float, ...]] = LRUCache(keys)

    def count(self, key: Hashable) -> None:
        self._moments[key] = (*self._moments.get(key, ()), time.monotonic())[-self.limit.amount :]

    def wait(self, key: Hashable) -> int:
        """Returns the seconds until the limit allows one more; 0 if it does now."""
        moments = self._moments.get(key, ())
        if len(moments) < self.limit.amount:
            return 0
        return max(0, math.ceil(moments[0] + self._seconds - time.monotonic()))


def network_of(address: str) -> str:
    """Returns the key that a client's address is counted under: an IPv4 address, or the /64 network of an IPv6 address.

    An IPv4-mapped address (::ffff:192.0.2.1) counts as IPv4. A text that is not an address is its own key.
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
