"""The REST representation of an inbox, without its secrets."""

from collections.abc import Mapping
from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from edge.answers import to_iso
from models.fields import Published
from models.oauth2 import OAuth2Provider, StoredOAuth2
from models.stored import StoredInbox, StoredServer
from models.user import User

Moment = Annotated[str, Published(format="date-time"), Field(description="RFC 3339, in UTC, with milliseconds.")]


class Creator(TypedDict):
    """Who made an inbox."""

    _id: str
    username: str


class Consent(TypedDict):
    """A consent in place of a password, without its secrets."""

    provider: Annotated[OAuth2Provider | None, Field(description="null: one that is named by tokenUrl alone.")]
    tokenUrl: str
    clientId: str
    scope: str | None
    hasClientSecret: Annotated[bool, Field(description="Whether a client secret is stored.")]


class Server(TypedDict):
    """A mail server as it is stored, without its secrets."""

    server: str
    port: int
    username: str
    secure: bool
    hasPassword: Annotated[
        bool,
        Field(description="Whether a password is stored; false where there is oauth2, and for a relay without login."),
    ]
    tlsFingerprint: NotRequired[Annotated[str, Field(description="There where one certificate is trusted.")]]
    oauth2: NotRequired[Annotated[Consent, Field(description="There where a consent stands in for the password.")]]


class ImapServer(Server):
    """The server for incoming mail as it is stored, without its secrets."""

    maxRetries: int


class Document(TypedDict):
    """An inbox, without its secrets."""

    _id: str
    name: str
    email: str
    active: bool
    description: str | None
    senderInfo: str | None
    department: Annotated[str | None, Field(description="null: every department.")]
    smtp: Server
    imap: ImapServer
    _createdAt: Moment
    _updatedAt: Moment
    _createdBy: Annotated[Creator | None, Field(description="null: that user is gone.")]


class Shown(Document):
    """An inbox, without its secrets."""

    success: Literal[True]


def document(inbox: StoredInbox, creators: Mapping[str, User]) -> Document:
    """Converts an inbox to the field names of Rocket.Chat. `creators` maps user ids to users."""
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


def _server(server: StoredServer) -> Server:
    """Omits the fields that old clients do not know, unless they are set."""
    values: Server = {
        "server": server.server,
        "port": server.port,
        "username": server.username,
        "secure": server.secure,
        "hasPassword": server.has_password,
    }
    if server.tls_fingerprint is not None:
        values["tlsFingerprint"] = server.tls_fingerprint
    if server.oauth2:
        values["oauth2"] = _consent(server.oauth2)
    return values


def _consent(consent: StoredOAuth2) -> Consent:
    return {
        "provider": consent.provider,
        "tokenUrl": consent.token_url,
        "clientId": consent.client_id,
        "scope": consent.scope,
        "hasClientSecret": consent.has_client_secret,
    }
