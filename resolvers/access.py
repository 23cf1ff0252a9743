"""Authenticates callers and enforces the permission of every operation, for GraphQL and REST alike. Knows neither."""

import asyncio
import functools
import hmac
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

from cachetools import LRUCache

from models import token as tokens
from models.database import Database
from models.database.columns import now
from models.errors import Unauthenticated
from models.secrets import Secret
from models.user import Permission
from resolvers.context import Caller, Context
from resolvers.throttle import Throttle

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Resolver = Callable[Concatenate[Context, _Arguments], Awaitable[_Result]]

MAX_USER_ID_LENGTH = 64
MAX_CACHED_TOKENS = 10_000
"""Digests of valid tokens: requests with them are never throttled."""
BAD_CREDENTIALS_MESSAGE = (
    "The token is not valid, or is not one of the user in X-User-Id. Log in again, or create another token."
)
SEES_INBOXES = (Permission.MANAGE_EMAIL_INBOX, Permission.READ_EMAIL, Permission.SEND_EMAIL)


def requires(*permissions: Permission) -> Callable[[_Resolver[_Arguments, _Result]], _Resolver[_Arguments, _Result]]:
    """Requires a caller with one of the permissions before the resolver runs; without any, just a caller."""

    def decorate(resolver: _Resolver[_Arguments, _Result]) -> _Resolver[_Arguments, _Result]:
        name = _operation_name(resolver)

        @functools.wraps(resolver)
        async def wrapper(context: Context, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
            with context.observer.resolving(name, context.api):
                await context.require(*permissions)
                return await resolver(context, *args, **kwargs)

        return _with_rule(wrapper, " or ".join(permission.name for permission in permissions) or "any user")

    return decorate


def public(resolver: _Resolver[_Arguments, _Result]) -> _Resolver[_Arguments, _Result]:
    """Marks a resolver that needs no authentication."""
    name = _operation_name(resolver)

    @functools.wraps(resolver)
    async def wrapper(context: Context, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with context.observer.resolving(name, context.api):
            return await resolver(context, *args, **kwargs)

    return _with_rule(wrapper, "anybody")


def _with_rule(resolver: _Resolver[_Arguments, _Result], rule: str) -> _Resolver[_Arguments, _Result]:
    """Sets the rule as an attribute of the resolver, in words, for lists of the operations."""
    resolver.rule = rule  # type: ignore[attr-defined]
    return resolver


def _operation_name(resolver: Callable[..., Any]) -> str:
    """Returns the name of the operation in metrics and traces, the same for every API."""
    first, *others = resolver.__name__.split("_")
    return first + "".join(map(str.capitalize, others))


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of a request. A Bearer token comes without a user id."""

    token: Secret
    user_id: str | None = None

    @property
    def is_plausible(self) -> bool:
        """Whether they are short enough to be valid. Longer ones are not processed."""
        return len(self.token.reveal()) <= tokens.MAX_TOKEN_LENGTH and len(self.user_id or "") <= MAX_USER_ID_LENGTH


class Authenticator:
    """Finds callers by their credentials, throttles guessing, and records when tokens are used."""

    def __init__(self, database: Database, throttle: Throttle) -> None:
        self._database = database
        self._throttle = throttle
        self._uses: dict[str, datetime] = {}
        self._valid_digests: LRUCache[str, bool] = LRUCache(MAX_CACHED_TOKENS)

    def cached_caller(
        self, credentials: Credentials | None, address: str, seconds: float = math.inf
    ) -> Callable[[], Awaitable[Caller | None]]:
        """Returns a function that queries the database once, and again when the result is `seconds` old."""
        return CachedCaller(functools.partial(self.find, credentials, address), seconds)

    async def find(self, credentials: Credentials | None, address: str) -> Caller | None:
        """Returns the caller, or None without credentials.

        Raises Unauthenticated for bad ones, and RateLimited if an address sends too many of them.
        """
        if credentials is None:
            return None
        holder = await self._find_holder(credentials, address) if credentials.is_plausible else None
        if holder is None:
            self._throttle.token_failed(address)
            raise Unauthenticated(BAD_CREDENTIALS_MESSAGE)
        self._uses[holder.token_id] = now()
        return Caller(holder.user, holder.permissions, holder.token_id, holder.is_narrowed)

    async def _find_holder(self, credentials: Credentials, address: str) -> tokens.Holder | None:
        """Returns the holder of the token. Raises RateLimited for an unknown token after too many wrong ones."""
        wanted = tokens.lookup_values(credentials.token)
        digest = wanted["digest"]
        if digest not in self._valid_digests:
            self._throttle.look_up(address, credentials.user_id)
        for holder in await self._database.find(tokens.HOLDER, **wanted):
            if credentials.user_id is None or _is_same(credentials.user_id, holder.user.id):
                self._valid_digests[digest] = True
                return holder
        self._valid_digests.pop(digest, None)
        return None

    async def flush(self) -> None:
        """Stores the uses recorded since the last call. If that fails, keeps them for the next one."""
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await self._database.write(lambda session: tokens.note_uses(session, uses))
        except BaseException:
            self._uses = uses | self._uses
            raise


class CachedCaller:
    """Finds the caller once for all concurrent callers. If one of these is cancelled, the next one takes over."""

    __slots__ = ("_answer", "_asked_at", "_find", "_lock", "_seconds")

    def __init__(self, find: Callable[[], Awaitable[Caller | None]], seconds: float) -> None:
        self._find = find
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._asked_at: float | None = None
        self._answer: Caller | Exception | None = None

    async def __call__(self) -> Caller | None:
        if self._is_old():
            async with self._lock:
                if self._is_old():
                    await self._refresh()
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def _is_old(self) -> bool:
        return self._asked_at is None or time.monotonic() - self._asked_at >= self._seconds

    async def _refresh(self) -> None:
        asked_at = time.monotonic()
        try:
            self._answer = await self._find()
        except Exception as error:
            self._answer = error
        self._asked_at = asked_at


def _is_same(given: str, stored: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), stored.encode())
