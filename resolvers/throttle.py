"""Throttles the guessing of passwords and tokens, by the network of the client and by user. Knows no credentials.

Every count is of one network, so that attackers elsewhere can't lock a user out. The counts are kept per process, and
their number is limited: `resolvers/windows.py`.
"""

import hashlib
from collections.abc import Hashable

from limits import parse

from models.errors import RateLimited
from models.observer import CredentialKind, Observer
from models.user import login_key
from resolvers.windows import MovingWindows, network_of

FAILED_LOGINS_PER_USER = parse("5/minute")
"""Failed logins as one user from one network."""
FAILURES_PER_NETWORK = parse("30/minute")
"""Failed logins from one network; and, counted separately, wrong tokens."""
LOGINS_PER_USER = parse("10/minute")
"""Logins as one user from one network, successful ones too, since each costs a hash."""
LOGINS_PER_NETWORK = parse("60/minute")
UNKNOWN_TOKENS_PER_USER = parse("1/second")
"""Unknown tokens for one user that are still looked up from a network that has sent too many wrong ones."""
UNKNOWN_TOKENS_PER_NETWORK = parse("20/second")

Check = tuple[MovingWindows, Hashable]


class Throttle:
    """Counts logins and wrong tokens in moving windows."""

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
        """Counts a login before any work is done for it. Raises RateLimited if there were too many.

        The caller has checked the length of `name`.
        """
        network, key = network_of(address), _key(name)
        checks: list[Check] = [(self._logins_by_name, (network, key)), (self._logins, network)]
        self._check("login", *self._failure_checks(network, key), *checks)
        _count(checks)

    def check_login(self, address: str, name: str) -> None:
        """Checks the failures again after a login has waited. Raises RateLimited."""
        self._check("login", *self._failure_checks(network_of(address), _key(name)))

    def is_guessed(self, address: str, user_id: str) -> bool:
        """Whether too many logins as this user failed from this network, by username or address.

        The client must not learn it: two names that are refused together would prove to belong to one user.
        """
        return self._failures_by_user.wait((network_of(address), user_id)) > 0

    def login_failed(self, address: str, name: str, user_id: str | None) -> None:
        """Counts a failed login, under the name even if no user has it."""
        network = network_of(address)
        self._observer.credentials_refused("login")
        _count(self._failure_checks(network, _key(name)))
        if user_id is not None:
            self._failures_by_user.count((network, user_id))

    def _failure_checks(self, network: str, key: bytes) -> list[Check]:
        return [(self._failures_by_name, (network, key)), (self._failures, network)]

    # ------------------------------------------------------------------------------------------------------- tokens

    def look_up(self, address: str, user_id: str | None) -> None:
        """Allows the look-up of a token that is not a known valid one. Raises RateLimited if it is not allowed.

        Too many wrong tokens slow a network down but do not block it, because it may have other users.
        """
        network = network_of(address)
        if self._wrong_tokens.wait(network):
            checks: list[Check] = [(self._tokens_of_user, (network, user_id)), (self._tokens, network)]
            if any(windows.wait(key) for windows, key in checks):
                self._check("token", (self._wrong_tokens, network))
            _count(checks)

    def token_failed(self, address: str) -> None:
        """Counts a wrong token. Raises RateLimited if there were too many before."""
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
    """Hashes the name, so that the size of a key does not depend on it."""
    return hashlib.sha256(login_key(name).encode("utf-8", "surrogatepass")).digest()
