"""Who the caller is, and the rule of every operation. Knows neither GraphQL nor REST, which both come through here."""

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
"""Digests of tokens that were right: what they are used for is never slowed down."""
BAD_CREDENTIALS_MESSAGE = (
    "The token is not valid, or is not one of the user in X-User-Id. Log in again, or create another token."
)
SEES_INBOXES = (Permission.MANAGE_EMAIL_INBOX, Permission.READ_EMAIL, Permission.SEND_EMAIL)


def requires(*permissions: Permission) -> Callable[[_Resolver[_Arguments, _Result]], _Resolver[_Arguments, _Result]]:
    """Asks for a caller with one of the permissions before the resolver runs; without any, for a caller."""

    def decorate(resolver: _Resolver[_Arguments, _Result]) -> _Resolver[_Arguments, _Result]:
        name = _operation(resolver)

        @functools.wraps(resolver)
        async def wrapper(context: Context, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
            with context.observer.resolving(name, context.api):
                await context.require(*permissions)
                return await resolver(context, *args, **kwargs)

        return _ruled(wrapper, " or ".join(permission.name for permission in permissions) or "any user")

    return decorate


def public(resolver: _Resolver[_Arguments, _Result]) -> _Resolver[_Arguments, _Result]:
    """Marks a resolver that anybody may call."""
    name = _operation(resolver)

    @functools.wraps(resolver)
    async def wrapper(context: Context, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with context.observer.resolving(name, context.api):
            return await resolver(context, *args, **kwargs)

    return _ruled(wrapper, "anybody")


def _ruled(resolver: _Resolver[_Arguments, _Result], rule: str) -> _Resolver[_Arguments, _Result]:
    """Writes the rule on the resolver itself, in words, for whoever lists the operations."""
    resolver.rule = rule  # type: ignore[attr-defined]
    return resolver


def _operation(resolver: Callable[..., Any]) -> str:
    """The name under which the operation is counted and traced, whichever way it comes."""
    first, *others = resolver.__name__.split("_")
    return first + "".join(map(str.capitalize, others))


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request says of its caller. A Bearer token comes without a user id."""

    token: Secret
    user_id: str | None = None

    @property
    def is_plausible(self) -> bool:
        """Whether they are not longer than any that are. Nothing is made of longer ones."""
        return len(self.token.reveal()) <= tokens.MAX_TOKEN_LENGTH and len(self.user_id or "") <= MAX_USER_ID_LENGTH


class Authenticator:
    """Finds callers by their credentials, slows those who guess, and notes when tokens are used."""

    def __init__(self, database: Database, throttle: Throttle) -> None:
        self._database = database
        self._throttle = throttle
        self._uses: dict[str, datetime] = {}
        self._valid_digests: LRUCache[str, bool] = LRUCache(MAX_CACHED_TOKENS)

    def cached_caller(
        self, credentials: Credentials | None, address: str, seconds: float = math.inf
    ) -> Callable[[], Awaitable[Caller | None]]:
        """Asks the database once, and again when the answer is this old."""
        return CachedCaller(functools.partial(self.find, credentials, address), seconds)

    async def find(self, credentials: Credentials | None, address: str) -> Caller | None:
        """The caller, or None without credentials.

        Raises Unauthenticated for bad ones, and RateLimited where an address sends too many of them.
        """
        if credentials is None:
            return None
        holder = await self._holder(credentials, address) if credentials.is_plausible else None
        if holder is None:
            self._throttle.token_failed(address)
            raise Unauthenticated(BAD_CREDENTIALS_MESSAGE)
        self._uses[holder.token_id] = now()
        return Caller(holder.user, holder.permissions, holder.token_id, holder.is_narrowed)

    async def _holder(self, credentials: Credentials, address: str) -> tokens.Holder | None:
        """Raises RateLimited where the token is not known to be right, and too many were wrong."""
        wanted = tokens.lookup_values(credentials.token)
        digest = wanted["digest"]
        if digest not in self._valid_digests:
            self._throttle.look_up(address, credentials.user_id)
        for holder in await self._database.find(tokens.HOLDER, **wanted):
            if credentials.user_id is None or _same(credentials.user_id, holder.user.id):
                self._valid_digests[digest] = True
                return holder
        self._valid_digests.pop(digest, None)
        return None

    async def flush(self) -> None:
        """Writes down the uses noted since the last time. Where that fails, they are kept for the next time."""
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await self._database.write(lambda session: tokens.note_uses(session, uses))
        except BaseException:
            self._uses = uses | self._uses
            raise


class CachedCaller:
    """What is found out once, for all that ask. Who no longer waits for it leaves it to those who do."""

    __slots__ = ("_answer", "_asked", "_find", "_seconds", "_turn")

    def __init__(self, find: Callable[[], Awaitable[Caller | None]], seconds: float) -> None:
        self._find = find
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._asked: float | None = None
        self._answer: Caller | Exception | None = None

    async def __call__(self) -> Caller | None:
        if self._is_old():
            async with self._turn:
                if self._is_old():
                    await self._ask()
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def _is_old(self) -> bool:
        return self._asked is None or time.monotonic() - self._asked >= self._seconds

    async def _ask(self) -> None:
        asked = time.monotonic()
        try:
            self._answer = await self._find()
        except Exception as error:
            self._answer = error
        self._asked = asked


def _same(given: str, stored: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), stored.encode())
