"""Imports inboxes, users and login tokens from an export of a Rocket.Chat server.

A document with `smtp` and `imap` is an inbox, one with `username` a user; others are skipped, and so are bots and
apps, such as the `rocket.cat` of every server. A document is stored completely or not at all, and an invalid one does
not stop the others. Transactions are short, so that a running server can write between them. After an interruption,
the import can be repeated: it replaces the same documents.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from models import token as tokens
from models import user as users
from models.database.transaction import Transaction
from models.errors import ErrorCode, Refused
from models.secrets import Keyring
from models.stored import PROTOCOLS
from models.user import Permission, User, UserConfig
from models.validation import as_far_as_valid, examine
from resolvers.access import requires
from resolvers.context import Context
from resolvers.inbox import set_in
from resolvers.mongoexport import ExportReader

_Document = Mapping[str, Any]
SERVER_KEYS = ("server", "port", "username", "password", "secure", "maxRetries")
INBOX_KEYS = ("name", "email", "active", "description", "senderInfo", "department")
BATCH_DOCUMENTS = 100
BATCH_SECONDS = 0.1
"""The most documents of a transaction, and the time after which it takes no further one."""
PAUSE_SECONDS = 0.02
"""The time between two transactions: longer than the interval at which a server polls for a lock."""

_DIGEST = re.compile("[A-Za-z0-9+/]{43}=")
_MAX_ID_LENGTH = 100
"""Characters of an id in the result."""


@dataclass(frozen=True, slots=True)
class SkippedDocument:
    """A document that was not imported, and the reasons. `is_refused`: it is an inbox or a user, but invalid."""

    line: int
    id: str
    reasons: Sequence[str]
    is_refused: bool


@dataclass(slots=True)
class ImportResult:
    """The numbers of documents that are committed and of those that were skipped."""

    inboxes: int = 0
    users: int = 0
    tokens: int = 0
    refused: int = 0
    others: int = 0

    def add(self, outcome: "Outcome") -> None:
        if isinstance(outcome, SkippedDocument):
            self.refused += outcome.is_refused
            self.others += not outcome.is_refused
        else:
            self.inboxes += outcome.inboxes
            self.users += outcome.users
            self.tokens += outcome.tokens


Outcome = ImportResult | SkippedDocument


@requires(Permission.MANAGE_EMAIL_INBOX)
async def import_documents(
    context: Context,
    documents: Iterable[ExportReader],
    imported: ImportResult,
    tell: Callable[[SkippedDocument], object],
) -> None:
    """Stores the documents. Counts committed ones in `imported`, and calls `tell` for each skipped one."""
    caller = await context.require(Permission.MANAGE_USERS)
    remaining = iter(documents)
    while batch := list(islice(remaining, BATCH_DOCUMENTS)):
        while batch:
            unit = partial(_store_some, documents=batch, keyring=context.keyring, by=caller.id)
            outcomes = await context.database.write(unit)
            batch = batch[len(outcomes) :]
            for outcome in outcomes:
                imported.add(outcome)
                if isinstance(outcome, SkippedDocument):
                    tell(outcome)
            context.events.wake()
            await asyncio.sleep(PAUSE_SECONDS)


def _store_some(
    session: Transaction, documents: Sequence[ExportReader], keyring: Keyring, by: str | None
) -> list[Outcome]:
    """Stores as many of the documents as time allows, in order, and returns the outcome of each."""
    deadline = time.monotonic() + BATCH_SECONDS
    outcomes: list[Outcome] = []
    for document in documents:
        outcomes.append(_store_one(session, document, keyring, by))
        if time.monotonic() > deadline:
            break
    return outcomes


def _store_one(session: Transaction, exported: ExportReader, keyring: Keyring, by: str | None) -> Outcome:
    document, leave_out = exported.content, partial(SkippedDocument, exported.line, _document_id(exported.content))
    if exported.problem:
        return leave_out([exported.problem], is_refused=True)
    try:
        if all(protocol in document for protocol in PROTOCOLS):
            set_in(session, _inbox_values(document), keyring, by)
            return ImportResult(inboxes=1)
        if "username" not in document:
            return leave_out(["neither an inbox nor a user"], is_refused=False)
        if document.get("type", "user") != "user":
            return leave_out(["a bot or an app"], is_refused=False)
        user = _store_user(session, document)
        return ImportResult(users=1, tokens=_store_tokens(session, user, document))
    except Refused as refused:  # raised before anything was written
        return leave_out([problem.message for problem in refused.problems], is_refused=True)


def _inbox_values(document: _Document) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": document.get("_id"),
        **{name: document[name] for name in INBOX_KEYS if name in document},
    }
    for protocol in PROTOCOLS:
        server = _mapping(document, protocol)
        values[protocol] = {name: server[name] for name in SERVER_KEYS if name in server}
    return values


def _store_user(session: Transaction, document: _Document) -> User:
    values = {
        "id": document.get("_id"),
        "username": document.get("username"),
        "name": document.get("name"),
        "email": next((email.get("address") for email in _mappings(document, "emails")), None),
        "permissions": list(Permission) if _is_admin(document) else [],
        "active": document.get("active", True),
    }
    config, problems = examine(UserConfig, values, "input")
    stored = session.get(User, config.id) if config and config.id else None
    was_active = stored is None or stored.active
    known = config or as_far_as_valid(UserConfig, values)
    problems += users.taken_problems(session, known, stored.id if stored else None)
    if config is None or problems:
        raise Refused(problems)
    _keep_a_manager(session, config, stored)
    user = users.store(session, config, stored, None)
    if not (was_active and user.active):
        tokens.revoke_all(session, user.id)
    return user


def _keep_a_manager(session: Transaction, config: UserConfig, stored: User | None) -> None:
    """Raises Refused if no active user could manage users any more."""
    manages = stored is not None and stored.active and Permission.MANAGE_USERS in stored.permissions
    will_manage = config.active and Permission.MANAGE_USERS in config.permissions
    if stored and manages and not will_manage and not users.keeps_a_manager(session, without=stored.id):
        raise Refused.because(ErrorCode.CONFLICT, "This is the last active user who can manage users.")


def _store_tokens(session: Transaction, user: User, document: _Document) -> int:
    """Stores the login tokens and returns how many are new. Skips a disabled user's: enabling would make them valid."""
    if not user.active:
        return 0
    resume = _mapping(_mapping(document, "services"), "resume")
    digests = [token.get("hashedToken") for token in _mappings(resume, "loginTokens")]
    known = [digest for digest in digests if isinstance(digest, str) and _DIGEST.fullmatch(digest)]
    return sum(tokens.adopt(session, user.id, digest) for digest in known)


def _is_admin(document: _Document) -> bool:
    roles = document.get("roles")
    return isinstance(roles, list) and "admin" in roles


def _mapping(document: _Document, key: str) -> _Document:
    """Returns the object under the key; an empty one if there is none."""
    found = document.get(key)
    return found if isinstance(found, Mapping) else {}


def _mappings(document: _Document, key: str) -> list[_Document]:
    """Returns the objects in the list under the key."""
    found = document.get(key)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def _document_id(document: _Document) -> str:
    found = document.get("_id")
    return str(found)[:_MAX_ID_LENGTH] if isinstance(found, str | int) else "no _id"
