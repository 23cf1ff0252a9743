"""Sets, changes, deletes, finds and follows inboxes. Knows neither GraphQL nor REST, and no SQL."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from mail.warnings import warnings
from models import change
from models import inbox as inboxes
from models.change import ChangeKind
from models.config import InboxConfig
from models.database.search import search_page
from models.database.transaction import Transaction
from models.errors import BadRequest, ErrorCode, Problem, Refused, Unavailable
from models.fields import address_key
from models.inbox import EmailInbox, InboxOrder
from models.paging import CountedPage, Order, Window
from models.secrets import Keyring
from models.stored import PROTOCOLS, StoredInbox
from models.user import Permission
from models.validation import as_far_as_valid, examine, validated_value
from resolvers.access import SEES_INBOXES, requires
from resolvers.context import Caller, Context
from resolvers.events import Event
from resolvers.filters import text_filter

RECHECK_SECONDS = 5.0
CURSOR_LENGTH = 100
"""The most characters of a change's cursor that are decoded: every valid one is shorter."""


@dataclass(frozen=True, slots=True)
class SavedInbox:
    """An inbox that was set, and the config that set it."""

    inbox: StoredInbox
    created: bool
    config: InboxConfig
    warnings: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An input, validated once. `known` is its config, or the valid part of a refused one: see `_validate`."""

    values: Mapping[str, Any]
    config: InboxConfig | None
    problems: Sequence[Problem]
    known: InboxConfig


@dataclass(frozen=True, slots=True)
class InboxChange:
    """A change as one caller may see it."""

    cursor: str
    kind: ChangeKind
    id: str
    email_inbox: StoredInbox | None
    changed_at: datetime
    changed_by_id: str | None


@requires(Permission.MANAGE_EMAIL_INBOX)
async def set_email_inbox(context: Context, values: Mapping[str, Any]) -> SavedInbox:
    """Creates the inbox, or replaces the one with the id in `values`, the input as the client sent it.

    Raises Refused with every problem, including conflicts with stored values.
    """
    caller, wanted = await context.caller(), _validate(values)

    def unit(transaction: Transaction) -> SavedInbox:
        stored = _find_stored(transaction, wanted.known.id)
        return _set_over(transaction, wanted, stored, context.keyring, caller.id)

    return _announce(context, await context.database.write(unit))


@requires(Permission.MANAGE_EMAIL_INBOX)
async def update_email_inbox(context: Context, values: Mapping[str, Any]) -> SavedInbox:
    """Changes only the fields that are in `values`. Raises Refused."""
    caller = await context.caller()

    def unit(transaction: Transaction) -> SavedInbox:
        stored = _find_stored(transaction, validated_value(InboxConfig, "id", values.get("id")))
        if stored is None:
            raise Refused.because(ErrorCode.NOT_FOUND, "No inbox has this id.", "input", "id")
        wanted = _validate(_merge(stored.as_values(), values))
        return _set_over(transaction, wanted, stored, context.keyring, caller.id)

    return _announce(context, await context.database.write(unit))


def _announce(context: Context, saved: SavedInbox) -> SavedInbox:
    """After the commit: wakes the subscriptions, and adds the warnings for the caller."""
    context.events.wake()
    return replace(saved, warnings=warnings(saved.config, context.mail.hosts.ports))


@requires(Permission.MANAGE_EMAIL_INBOX)
async def delete_email_inbox(context: Context, inbox_id: str) -> str:
    """Deletes the inbox and returns its id. Raises Refused if it does not exist."""
    caller = await context.caller()

    def unit(transaction: Transaction) -> None:
        stored = _find_stored(transaction, validated_value(InboxConfig, "id", inbox_id))
        if stored is None:
            raise Refused.because(ErrorCode.NOT_FOUND, "No inbox has this id.", "id")
        inboxes.delete(transaction, stored.id)
        change.record(transaction, ChangeKind.DELETED, stored, stored.department, caller.id)

    await context.database.write(unit)
    context.events.wake()
    return inbox_id


@requires(*SEES_INBOXES)
async def email_inbox(context: Context, inbox_id: str | None = None, email: str | None = None) -> StoredInbox | None:
    """Returns the inbox with this id or address; None if there is none or the caller may not see it."""
    if (inbox_id is None) == (email is None):
        raise BadRequest("Give exactly one of `id` and `email`.")
    caller = await context.caller()
    address, known_id = validated_value(InboxConfig, "email", email), validated_value(InboxConfig, "id", inbox_id)
    seen = None if caller.departments is None else tuple(caller.departments)
    found: list[StoredInbox] = []
    if isinstance(address, str):
        found = await context.database.find(inboxes.seen("email_key", seen), email_key=address_key(address))
    elif isinstance(known_id, str):
        found = await context.database.find(inboxes.seen("id", seen), id=known_id)
    return found[0] if found else None


@requires(*SEES_INBOXES)
async def email_inboxes(
    context: Context,
    window: Window,
    order_by: InboxOrder = InboxOrder.NAME,
    order: Order = Order.ASC,
    *,
    active: bool | None = None,
    department: str | None = None,
    search: str | None = None,
) -> CountedPage[StoredInbox]:
    """Returns a page of the inboxes that the caller sees. Raises BadRequest."""
    caller = await context.caller()
    seen = None if caller.departments is None else tuple(caller.departments)
    filters = inboxes.conditions(seen, active, text_filter("department", department))
    wanted = text_filter("search", search)
    return await search_page(context.database, EmailInbox, wanted, filters, window, order_by, order)


@requires(Permission.MANAGE_EMAIL_INBOX)
async def list_email_inboxes(
    context: Context, count: int, offset: int, orders: Sequence[tuple[InboxOrder, Order]]
) -> tuple[Sequence[StoredInbox], int]:
    """Returns `count` inboxes from `offset` on, and the total number: the paging of the legacy path."""
    statement = inboxes.sorted_by(orders).limit(count).offset(offset)
    rows, totals = await asyncio.gather(context.database.read(statement), context.database.read(inboxes.count()))
    return [StoredInbox._make(row) for row in rows], totals[0]


@requires(*SEES_INBOXES)
async def changes_cursor(context: Context) -> str:
    """Returns the cursor of the newest change of any inbox. A client that reads next can then follow without a gap."""
    return _encode_cursor((await context.database.find(change.LAST_SEQ))[0])


@requires(*SEES_INBOXES)
async def email_inbox_changed(
    context: Context, inbox_id: str | None = None, after: str | None = None
) -> AsyncIterator[InboxChange]:
    """Yields every change of an inbox that the caller sees, from now on or since the cursor `after`. Raises BadRequest.

    Ends with Unauthenticated or Forbidden within seconds after the caller lost the token or the permission.
    """
    # Changes from this moment on are delivered, however long the first step of the subscription takes.
    [newest] = await context.database.find(change.LAST_SEQ) if after is None else [_decode_cursor(after)]
    return _changes(context, inbox_id, newest)


async def _changes(context: Context, inbox_id: str | None, after: int) -> AsyncIterator[InboxChange]:
    events = context.events.subscribe(after)
    following = asyncio.ensure_future(anext(events, None))
    try:
        caller, asked = await context.require(*SEES_INBOXES), time.monotonic()
        while True:
            done, _ = await asyncio.wait({following}, timeout=RECHECK_SECONDS)
            if time.monotonic() - asked >= RECHECK_SECONDS:
                caller, asked = await context.require(*SEES_INBOXES), time.monotonic()
            if not done:
                continue
            event = following.result()
            if event is None:
                raise Unavailable("The subscription ended: subscribe again with `after`.")
            seen = _as_seen_by(caller, event)
            if seen and inbox_id in (None, seen.id):
                yield seen
            following = asyncio.ensure_future(anext(events, None))
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await events.aclose()


def _as_seen_by(caller: Caller, event: Event) -> InboxChange | None:
    """Returns the change as the caller sees it: an inbox moved to a department out of sight appears as deleted."""
    row, kind, inbox = event.change, ChangeKind(event.change.kind), event.inbox
    if not caller.sees(row.department):
        if not caller.sees(row.previous_department):
            return None
        kind = ChangeKind.DELETED
    if kind is ChangeKind.DELETED:
        inbox = None
    elif inbox and not caller.sees(inbox.department):
        return None  # it has moved out of sight since: a later change reports that
    return InboxChange(_encode_cursor(event.seq), kind, row.inbox_id, inbox, row.changed_at, row.changed_by_id)


def set_in(transaction: Transaction, values: Mapping[str, Any], keyring: Keyring, by: str | None) -> SavedInbox:
    """Sets an inbox within a transaction. Raises Refused with every problem, including conflicts with stored values."""
    wanted = _validate(values)
    return _set_over(transaction, wanted, _find_stored(transaction, wanted.known.id), keyring, by)


def _validate(values: Mapping[str, Any]) -> Wanted:
    """Validates an input. The valid part of a refused one is still checked later, to report every problem at once."""
    config, problems = examine(InboxConfig, values, "input")
    return Wanted(values, config, problems, config or as_far_as_valid(InboxConfig, values))


def _set_over(
    transaction: Transaction, wanted: Wanted, stored: StoredInbox | None, keyring: Keyring, by: str | None
) -> SavedInbox:
    config, known = wanted.config, wanted.known
    problems = [
        *wanted.problems,
        *inboxes.password_problems(wanted.values, known, stored, keyring),
        *inboxes.address_problems(transaction, getattr(known, "email", None), stored),
        *inboxes.version_problems(known.if_version, stored),
    ]
    if config is None or problems:
        raise Refused(problems)
    previous = stored.department if stored else None
    saved = inboxes.store(transaction, config, stored, keyring, by)
    kind = ChangeKind.UPDATED if stored else ChangeKind.CREATED
    change.record(transaction, kind, saved, previous if stored else saved.department, by)
    return SavedInbox(saved, created=stored is None, config=config)


def _find_stored(transaction: Transaction, valid_id: object) -> StoredInbox | None:
    found = transaction.run(inboxes.TO_CHANGE, id=valid_id) if isinstance(valid_id, str) else []
    return found[0] if found else None


def _merge(stored: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the stored values, overridden by those of the patch, also within the server configs."""
    merged = {**stored, **patch}
    for protocol in PROTOCOLS:
        if isinstance(changes := patch.get(protocol), Mapping):
            merged[protocol] = _merge_server(stored[protocol], changes)
    return merged


def _merge_server(stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merges the config of a server: a new password replaces a stored consent."""
    merged = {**stored, **changes}
    if isinstance(consent := changes.get("oauth2"), Mapping):
        merged["oauth2"] = {**stored.get("oauth2", {}), **consent}
    elif "oauth2" not in changes and changes.get("password") is not None:
        merged.pop("oauth2", None)
    return merged


def _encode_cursor(seq: int) -> str:
    return base64.urlsafe_b64encode(f"change:{seq}".encode()).decode()


def _decode_cursor(cursor: str) -> int:
    try:
        kind, _, seq = base64.urlsafe_b64decode(cursor[:CURSOR_LENGTH]).decode().partition(":")
    except (ValueError, UnicodeError):
        kind, seq = "", ""
    if kind != "change" or not seq.isascii() or not seq.isdigit() or len(seq) > 18:
        raise BadRequest("`after` is not the cursor of a change: subscribe without it.")
    return int(seq)
