"""Slows the guessing of passwords and tokens, by the network of the client and by user. Knows no credentials.

What is counted is always what came from one network, so that nobody is locked out by what others do elsewhere. The
counts live in this process, and their number has a bound: `resolvers/windows.py`.
"""

import hashlib
from collections.abc import Hashable

from limits import parse

from models.errors import RateLimited
from models.observer import CredentialKind, Observer
from models.user import login_key
from resolvers.windows import MovingWindows, network_of

FAILED_LOGINS_PER_USER = parse("5/minute")
"""Logins as one user that failed, from one network."""
FAILURES_PER_NETWORK = parse("30/minute")
"""Logins that failed, from one network; and, counted apart, wrong tokens."""
LOGINS_PER_USER = parse("10/minute")
"""Logins as one user, right ones too, from one network: each costs the work of one."""
LOGINS_PER_NETWORK = parse("60/minute")
UNKNOWN_TOKENS_PER_USER = parse("1/second")
"""Unknown tokens for one user that are looked up all the same, from a network that has sent too many wrong ones."""
UNKNOWN_TOKENS_PER_NETWORK = parse("20/second")

Check = tuple[MovingWindows, Hashable]


class Throttle:
    """Counts in moving windows."""

    def __init__(self, observer: Observer | None = None) -> None:
        self._observer = observer or Observer()
        self._failures_by_name, self._failures_by_user = (
            MovingWindows(FAILED_LOGINS_PER_USER),
            MovingWindows(FAILED_LOGINS_PER_USER),
        )
        self._failures, self._wrong_tokens = MovingWindows(FAILURES_PER_NETWORK), MovingWindows(FAILURES_PER_NETWORK)
        self._logins_by_name, self._logins = MovingWindows(LOGINS_PER_USER), MovingWindows(LOGINS_PER_NETWORK)
        self._tokens_of_user, self._tokens = (
            MovingWindows(UNKNOWN_TOKENS_PER_USER),
            MovingWindows(UNKNOWN_TOKENS_PER_NETWORK),
        )

    # ---------------------------------------------------------------------------------------------------- passwords

    def login(self, address: str, name: str) -> None:
        """Counts a login before anything is done for it. Raises RateLimited where there were too many.

        `name` is one that was judged by its length.
        """
        network, key = network_of(address), _key(name)
        checks: list[Check] = [(self._logins_by_name, (network, key)), (self._logins, network)]
        self._check("login", *self._of_failures(network, key), *checks)
        _count(checks)

    def check_login(self, address: str, name: str) -> None:
        """The same by failures alone, for who has waited since. Raises RateLimited."""
        self._check("login", *self._of_failures(network_of(address), _key(name)))

    def is_guessed(self, address: str, user_id: str) -> bool:
        """Whether too many logins as this user failed from there, by whatever name of the user.

        Nobody is told: that two names are refused together would say that they belong to one user.
        """
        return self._failures_by_user.wait((network_of(address), user_id)) > 0

    def login_failed(self, address: str, name: str, user_id: str | None) -> None:
        """Counts a failure, by the name whether or not it is somebody's."""
        network = network_of(address)
        self._observer.credentials_refused("login")
        _count(self._of_failures(network, _key(name)))
        if user_id is not None:
            self._failures_by_user.count((network, user_id))

    def _of_failures(self, network: str, key: bytes) -> list[Check]:
        return [(self._failures_by_name, (network, key)), (self._failures, network)]

    # ------------------------------------------------------------------------------------------------------- tokens

    def look_up(self, address: str, user_id: str | None) -> None:
        """Lets a token be looked up that is not known to be right. Raises RateLimited where it must not be.

        Too many wrong ones slow the network down, and do not shut it out: there may be others in it.
        """
        network = network_of(address)
        if self._wrong_tokens.wait(network):
            checks: list[Check] = [(self._tokens_of_user, (network, user_id)), (self._tokens, network)]
            if any(windows.wait(key) for windows, key in checks):
                self._check("token", (self._wrong_tokens, network))
            _count(checks)

    def token_failed(self, address: str) -> None:
        """Counts a wrong token. Raises RateLimited where there were too many before."""
        network = network_of(address)
        self._check("token", (self._wrong_tokens, network))
        self._observer.credentials_refused("token")
        self._wrong_tokens.count(network)

    def _check(self, kind: CredentialKind, *checks: Check) -> None:
        for windows, key in checks:
            if seconds := windows.wait(key):
                self._observer.throttled(kind)
                raise RateLimited(seconds, limit=windows.limit.amount)


def _count(checks: list[Check]) -> None:
    for windows, key in checks:
        windows.count(key)


def _key(name: str) -> bytes:
    """A name is as long as it was sent, its key is not."""
    return hashlib.sha256(login_key(name).encode("utf-8", "surrogatepass")).digest()
