"""Taking over what a Rocket.Chat server has stored: inboxes, users and their login tokens. Knows no shell.

A document with `smtp` and `imap` is an inbox, one with `username` a user; others are left alone, and so are bots, such
as the `rocket.cat` of every server. All or nothing.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlmodel import Session

from models import token as tokens
from models import user as users
from models.errors import BadRequest, ErrorCode, Problem, Refused
from models.stored import PROTOCOLS
from models.transaction import Transaction
from models.user import Permission, User, UserConfig
from models.validation import examine
from resolvers.access import requires
from resolvers.context import Context
from resolvers.inbox import set_in

Document = Mapping[str, Any]
SERVER_KEYS = ("server", "port", "username", "password", "secure", "maxRetries")
INBOX_KEYS = ("name", "email", "active", "description", "senderInfo", "department")


@dataclass(frozen=True, slots=True)
class Imported:
    """How much was taken over."""

    inboxes: int
    users: int
    tokens: int


_DIGEST = re.compile("[A-Za-z0-9+/]{43}=")


def read_documents(exported: bytes) -> list[Document]:
    """The documents of a mongoexport: a JSON array, or one object a line. Raises BadRequest."""
    try:
        text = exported.decode("utf-8-sig")
        lines = [line for line in text.split("\n") if line.strip()]
        found = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        raise BadRequest("The file must be what mongoexport writes: JSON, as an array or one object a line.") from None
    if not all(isinstance(document, dict) for document in found):
        raise BadRequest("The file must hold JSON objects.")
    return list(found)


@requires(Permission.MANAGE_EMAIL_INBOX)
async def import_documents(context: Context, documents: Sequence[Document]) -> Imported:
    """Stores them in one transaction. Raises Refused with the problems of every document."""
    caller = await context.require(Permission.MANAGE_USERS)

    def unit(session: Transaction) -> Imported:
        managed = users.keeps_a_manager(session, without="")
        problems: list[Problem] = []
        counts = {"inboxes": 0, "users": 0, "tokens": 0}
        for document in documents:
            try:
                if all(protocol in document for protocol in PROTOCOLS):
                    set_in(session, _inbox_values(document), context.keyring, caller.id)
                    counts["inboxes"] += 1
                elif "username" in document and document.get("type", "user") == "user":
                    user = _store_user(session, document)
                    counts["users"] += 1
                    counts["tokens"] += _store_tokens(session, user, document)
            except Refused as refused:
                problems += [_of_document(problem, document) for problem in refused.problems]
        if problems:
            raise Refused(problems)
        if managed and not users.keeps_a_manager(session, without=""):
            raise Refused.because(ErrorCode.CONFLICT, "Afterwards no active user could manage users.")
        return Imported(**counts)

    imported = await context.database.write(unit)
    context.events.wake()
    return imported


def _inbox_values(document: Document) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": document.get("_id"),
        **{name: document[name] for name in INBOX_KEYS if name in document},
    }
    for protocol in PROTOCOLS:
        server = _mapping(document, protocol)
        values[protocol] = {name: server[name] for name in SERVER_KEYS if name in server}
    return values


def _store_user(session: Session, document: Document) -> User:
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
    problems += users.taken_problems(session, values, stored.id if stored else None)
    if config is None or problems:
        raise Refused(problems)
    user = users.store(session, config, stored, None)
    if not (was_active and user.active):
        tokens.revoke_all(session, user.id)
    return user


def _store_tokens(session: Session, user: User, document: Document) -> int:
    if not user.active:
        return 0
    resume = _mapping(_mapping(document, "services"), "resume")
    digests = [token.get("hashedToken") for token in _mappings(resume, "loginTokens")]
    known = [digest for digest in digests if isinstance(digest, str) and _DIGEST.fullmatch(digest)]
    return sum(tokens.adopt(session, user.id, digest) for digest in known)


def _is_admin(document: Document) -> bool:
    roles = document.get("roles")
    return isinstance(roles, list) and "admin" in roles


def _mapping(document: Document, key: str) -> Document:
    """What is under the key; an empty one where that is no object."""
    found = document.get(key)
    return found if isinstance(found, Mapping) else {}


def _mappings(document: Document, key: str) -> list[Document]:
    """The objects in the list under the key."""
    found = document.get(key)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def _of_document(problem: Problem, document: Document) -> Problem:
    return replace(problem, message=f"{document.get('_id')}: {problem.message}")
