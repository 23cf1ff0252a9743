"""An inbox as it is read and handed on: a plain row, which nothing follows. Knows no statement and no request."""

from datetime import datetime
from typing import Any, NamedTuple

from models.account import Account, Grant
from models.config import IDENTITY, Protocol
from models.fields import folded
from models.oauth2 import StoredOAuth2
from models.secrets import Keyring, Place, Secret

PROTOCOLS: tuple[Protocol, ...] = ("smtp", "imap")
SECRETS = ("password", "refresh_token", "client_secret")
"""The columns of a server that are encrypted; empty or NULL where there is no such secret."""

NO_SECRET = b""


class StoredServer(NamedTuple):
    """A server config as it may be shown: without its secrets."""

    server: str
    port: int
    username: str
    secure: bool
    has_password: bool
    max_retries: int
    tls_fingerprint: str | None
    oauth2: StoredOAuth2 | None

    def as_values(self) -> dict[str, Any]:
        """The input that would set it again, secrets left out."""
        values = {name: getattr(self, name) for name in IDENTITY} | {"tlsFingerprint": self.tls_fingerprint}
        return values | {"oauth2": self.oauth2.as_values()} if self.oauth2 else values


class StoredInbox(NamedTuple):
    """One shared inbox: the columns of its table but the one that is only searched."""

    id: str
    name: str
    name_key: str
    email: str
    email_key: str
    active: bool
    description: str | None
    sender_info: str | None
    department: str | None

    smtp_server: str
    smtp_port: int
    smtp_username: str
    smtp_password: bytes
    smtp_secure: bool
    smtp_tls_fingerprint: str | None
    smtp_oauth2: dict[str, Any] | None
    smtp_refresh_token: bytes | None
    smtp_client_secret: bytes | None

    imap_server: str
    imap_port: int
    imap_username: str
    imap_password: bytes
    imap_secure: bool
    imap_tls_fingerprint: str | None
    imap_oauth2: dict[str, Any] | None
    imap_refresh_token: bytes | None
    imap_client_secret: bytes | None
    imap_max_retries: int

    version: int
    created_at: datetime
    updated_at: datetime
    created_by_id: str | None

    @property
    def search_key(self) -> str:
        """The text in which a search looks."""
        return folded("\n".join((self.name, self.email, self.description or "")))

    @property
    def smtp(self) -> StoredServer:
        return StoredServer(
            self.smtp_server,
            self.smtp_port,
            self.smtp_username,
            self.smtp_secure,
            self.smtp_password != NO_SECRET and self.smtp_username != "",  # an empty one is none: a relay
            0,
            self.smtp_tls_fingerprint,
            _oauth2(self.smtp_oauth2, self.smtp_client_secret),
        )

    @property
    def imap(self) -> StoredServer:
        return StoredServer(
            self.imap_server,
            self.imap_port,
            self.imap_username,
            self.imap_secure,
            self.imap_password != NO_SECRET,
            self.imap_max_retries,
            self.imap_tls_fingerprint,
            _oauth2(self.imap_oauth2, self.imap_client_secret),
        )

    def server(self, protocol: Protocol) -> StoredServer:
        return self.smtp if protocol == "smtp" else self.imap

    def as_values(self) -> dict[str, Any]:
        """The input that would set this inbox again, secrets left out."""
        return {
            "id": self.id,
            "name": self.name,
            "email": self.email,
            "active": self.active,
            "description": self.description,
            "senderInfo": self.sender_info,
            "department": self.department,
            "smtp": self.smtp.as_values(),
            "imap": self.imap.as_values() | {"maxRetries": self.imap_max_retries},
        }


def _oauth2(stored: dict[str, Any] | None, client_secret: bytes | None) -> StoredOAuth2 | None:
    return StoredOAuth2.of(stored, has_client_secret=bool(client_secret)) if stored else None


def secret_place(inbox_id: str, protocol: Protocol, name: str) -> Place:
    """What the encryption of one of the `SECRETS` is bound to."""
    return Place("email_inbox", inbox_id, f"{protocol}_{name}")


def account(inbox: StoredInbox, protocol: Protocol, keyring: Keyring) -> Account:
    """The account at the server, its secrets in clear, to log in with. Raises DecryptionError."""
    server = inbox.server(protocol)
    consent = server.oauth2
    login: Secret | Grant
    if consent:
        client_secret = secret_of(inbox, protocol, "client_secret", keyring) if consent.has_client_secret else None
        refresh_token = secret_of(inbox, protocol, "refresh_token", keyring)
        login = Grant(consent.token_url, consent.client_id, client_secret, refresh_token, consent.scope)
    else:
        login = secret_of(inbox, protocol, "password", keyring)
    return Account(server.server, server.port, server.username, server.secure, login, server.tls_fingerprint)


def secret_of(inbox: StoredInbox, protocol: Protocol, name: str, keyring: Keyring) -> Secret:
    """One of the `SECRETS` in clear. Raises DecryptionError."""
    stored: bytes | None = getattr(inbox, f"{protocol}_{name}")
    return keyring.decrypt(stored or NO_SECRET, secret_place(inbox.id, protocol, name))
