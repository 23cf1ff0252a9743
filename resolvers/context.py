"""What every resolver is given as its first argument. Knows no web framework."""

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Self

from mail.service import Mail
from models.database import Database
from models.errors import Forbidden, Unauthenticated
from models.observer import Observer
from models.secrets import Keyring
from models.user import Permission, User
from resolvers.events import Events
from resolvers.mail_limits import Aside, MailQuota
from resolvers.throttle import Throttle


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent the request, as the database says at this moment. `permissions` are the token's, not just the user's."""

    user: User
    permissions: frozenset[Permission]
    token_id: str | None = None
    narrowed: bool = False

    @property
    def id(self) -> str | None:
        """The id to sign changes with; None for whoever works from the shell and is no stored user."""
        return self.user.id or None

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions

    @property
    def departments(self) -> list[str] | None:
        """The departments whose inboxes the caller sees, beside those without one; None: every inbox."""
        return None if self.may(Permission.MANAGE_EMAIL_INBOX) else self.user.departments

    def sees(self, department: str | None) -> bool:
        """Whether an inbox of this department exists for the caller."""
        return self.departments is None or department is None or department in self.departments


FindCaller = Callable[[], Awaitable[Caller | None]]


async def no_caller() -> Caller | None:
    """A request without credentials."""
    return None


@dataclass(frozen=True, slots=True)
class Context:
    """What one request works with. `authenticate` asks the database who the caller is; `address` is the client's.

    `api` is the way that the request came, for whoever counts; `aside`, what it does while it waits for slow work.
    """

    database: Database
    keyring: Keyring
    events: Events
    throttle: Throttle
    mail: Mail
    mail_quota: MailQuota
    observer: Observer = Observer()  # noqa: RUF009 - it keeps nothing
    authenticate: FindCaller = no_caller
    address: str = ""
    request_id: str = ""
    api: str = "shell"
    aside: Aside = nullcontext

    async def caller(self) -> Caller:
        """Raises Unauthenticated."""
        found = await self.authenticate()
        if found is None:
            raise Unauthenticated
        return found

    async def require(self, *permissions: Permission) -> Caller:
        """The caller, who must have one of the permissions, if any are named. Raises Unauthenticated, Forbidden."""
        caller = await self.caller()
        if permissions and caller.permissions.isdisjoint(permissions):
            raise Forbidden
        return caller

    def acting_as(self, authenticate: FindCaller) -> Self:
        """The same request, sent by somebody else."""
        return replace(self, authenticate=authenticate)
