"""The document: an inbox as the REST path shows it, without its passwords."""

from collections.abc import Mapping
from typing import Any

from edge.answers import to_iso
from models.inbox import EmailInbox, StoredServer
from models.user import User


def document(inbox: EmailInbox, creators: Mapping[str, User]) -> dict[str, Any]:
    """The inbox in the field names of Rocket.Chat. `creators` are the users by id."""
    creator = creators.get(inbox.created_by_id or "")
    return {
        "_id": inbox.id,
        "name": inbox.name,
        "email": inbox.email,
        "active": inbox.active,
        "description": inbox.description,
        "senderInfo": inbox.sender_info,
        "department": inbox.department,
        "smtp": _server(inbox.smtp),
        "imap": {**_server(inbox.imap), "maxRetries": inbox.imap.max_retries},
        "_createdAt": to_iso(inbox.created_at),
        "_updatedAt": to_iso(inbox.updated_at),
        "_createdBy": {"_id": creator.id, "username": creator.username} if creator else None,
    }


def _server(server: StoredServer) -> dict[str, Any]:
    return {
        "server": server.server,
        "port": server.port,
        "username": server.username,
        "secure": server.secure,
        "hasPassword": server.has_password,
    }
