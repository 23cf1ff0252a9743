"""The `email-inbox` endpoints. Each parses the request, calls the resolver that GraphQL uses, and builds the body."""

from typing import Literal

from typing_extensions import TypedDict

from models.errors import Refused
from models.user import Permission
from resolvers import inbox as resolvers
from resolvers.send_test import send_test_email
from resolvers.user import users_by_id
from rest.document import Document, Shown, document
from rest.endpoint import RestCall, endpoint
from rest.parameters import as_input, count_of, email_of, offset_of, orders_of
from rest.problems import NotFound, NotSent

MANAGE = Permission.MANAGE_EMAIL_INBOX


class Done(TypedDict):
    """The inbox that was set, tried or deleted."""

    _id: str
    success: Literal[True]


class Listing(TypedDict):
    """A part of the list of inboxes; `total` is the length of the whole list."""

    emailInboxes: list[Document]
    count: int
    offset: int
    total: int
    success: Literal[True]


class Found(TypedDict):
    """The inbox with the address that was asked for; null: there is none."""

    emailInbox: Document | None
    success: Literal[True]


@endpoint(MANAGE)
async def save(call: RestCall) -> Done:
    """Creates an inbox, or replaces the one with this `_id`, in one transaction: all or nothing."""
    saved = await resolvers.set_email_inbox(call.context, as_input(call.body))
    return {"_id": saved.inbox.id, "success": True}


@endpoint(MANAGE)
async def listing(call: RestCall) -> Listing:
    """Lists the inboxes."""
    query = call.request.query_params
    count, offset, orders = count_of(query), offset_of(query), orders_of(query)
    inboxes, total = await resolvers.list_email_inboxes(call.context, count, offset, orders)
    creators = await users_by_id(call.context, [inbox.created_by_id for inbox in inboxes if inbox.created_by_id])
    documents = [document(inbox, creators) for inbox in inboxes]
    return {"emailInboxes": documents, "count": len(documents), "offset": offset, "total": total, "success": True}


@endpoint(MANAGE)
async def search(call: RestCall) -> Found:
    """Finds an inbox by its address, without regard to case."""
    inbox = await resolvers.email_inbox(call.context, email=email_of(call.request.query_params))
    creators = await users_by_id(call.context, [inbox.created_by_id] if inbox and inbox.created_by_id else [])
    return {"emailInbox": document(inbox, creators) if inbox else None, "success": True}


@endpoint(MANAGE)
async def show(call: RestCall) -> Shown:
    """Shows an inbox."""
    inbox = await resolvers.email_inbox(call.context, inbox_id=call.request.path_params["id"])
    if inbox is None:
        raise NotFound
    creators = await users_by_id(call.context, [inbox.created_by_id] if inbox.created_by_id else [])
    return {**document(inbox, creators), "success": True}


@endpoint(MANAGE)
async def send_test(call: RestCall) -> Done:
    """Sends a mail from an inbox to the caller, and answers once the mail server has taken it."""
    try:
        sent = await send_test_email(call.context, call.request.path_params["id"])
    except Refused as refused:
        raise NotSent(refused.problems[0]) from None
    return {"_id": sent.inbox.id, "success": True}


@endpoint(MANAGE)
async def remove(call: RestCall) -> Done:
    """Deletes an inbox."""
    deleted = await resolvers.delete_email_inbox(call.context, call.request.path_params["id"])
    return {"_id": deleted, "success": True}
