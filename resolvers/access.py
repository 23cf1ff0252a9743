"""Who the caller is, and the rule of every operation. Knows neither GraphQL nor REST, which both come through here."""

import asyncio
import functools
import hmac
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Concatenate, ParamSpec, TypeVar

from models import token as tokens
from models.columns import now
from models.database import Database
from models.errors import Unauthenticated
from models.secrets import Secret
from models.user import Permission
from resolvers.context import Caller, Context
from resolvers.throttle import Throttle

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Resolver = Callable[Concatenate[Context, Arguments], Awaitable[Result]]

RULES: dict[str, str] = {}
"""The rule of every operation, by the name of its resolver."""

SEES_INBOXES = (Permission.MANAGE_EMAIL_INBOX, Permission.READ_EMAIL, Permission.SEND_EMAIL)


def requires(*permissions: Permission) -> Callable[[Resolver[Arguments, Result]], Resolver[Arguments, Result]]:
    """Asks for a caller with one of the permissions before the resolver runs; without any, for a caller."""

    def decorate(resolver: Resolver[Arguments, Result]) -> Resolver[Arguments, Result]:
        RULES[resolver.__name__] = " or ".join(permission.name for permission in permissions) or "any user"

        @functools.wraps(resolver)
        async def guarded(context: Context, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            await context.require(*permissions)
            return await resolver(context, *args, **kwargs)

        return _observed(guarded)

    return decorate


def public(resolver: Resolver[Arguments, Result]) -> Resolver[Arguments, Result]:
    """Marks a resolver that anybody may call."""
    RULES[resolver.__name__] = "anybody"
    return _observed(resolver)


def _observed(resolver: Resolver[Arguments, Result]) -> Resolver[Arguments, Result]:
    """Every operation passes here, whichever way it came: the one place where operations are counted and traced."""
    first, *others = resolver.__name__.split("_")
    name = first + "".join(map(str.capitalize, others))

    @functools.wraps(resolver)
    async def told(context: Context, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with context.observer.resolving(name, context.api):
            return await resolver(context, *args, **kwargs)

    return told


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request says of its caller. A Bearer token comes without a user id."""

    token: Secret
    user_id: str | None = None


class Authenticator:
    """Finds callers by their credentials, slows those who guess, and notes when tokens are used."""

    def __init__(self, database: Database, throttle: Throttle) -> None:
        self._database = database
        self._throttle = throttle
        self._uses: dict[str, datetime] = {}

    def remembered(
        self, credentials: Credentials | None, address: str, seconds: float = math.inf
    ) -> Callable[[], Awaitable[Caller | None]]:
        """Asks the database once, and again when the answer is this old."""
        asking: asyncio.Task[Caller | None] | None = None
        asked = 0.0

        async def authenticate() -> Caller | None:
            nonlocal asking, asked
            if asking is None or time.monotonic() - asked >= seconds:
                asking, asked = asyncio.create_task(self.find(credentials, address)), time.monotonic()
            return await asyncio.shield(asking)

        return authenticate

    async def find(self, credentials: Credentials | None, address: str) -> Caller | None:
        """The caller, or None without credentials.

        Raises Unauthenticated for bad ones, and RateLimited where an address sends too many of them.
        """
        if credentials is None:
            return None
        for holder in await self._database.find(tokens.HOLDER, **tokens.holding(credentials.token)):
            if credentials.user_id is None or _same(credentials.user_id, holder.user.id):
                self._uses[holder.token_id] = now()
                return Caller(holder.user, holder.permissions, holder.token_id, holder.is_narrowed)
        await self._throttle.check(address)
        await self._throttle.failed(address)
        raise Unauthenticated

    async def flush(self) -> None:
        """Writes down the uses noted since the last time."""
        uses, self._uses = self._uses, {}
        if uses:
            await self._database.write(lambda session: tokens.note_uses(session, uses))


def _same(given: str, stored: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), stored.encode())
