"""The stored inbox as a plain row, which no session tracks. Knows no statement and no request."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from models.account import Account, Grant, StoredGrant
from models.config import IDENTITY, INBOX_FIELDS, SERVER_FIELDS, MailProtocol
from models.fields import folded
from models.oauth2 import StoredOAuth2
from models.secrets import DecryptionError, Keyring, Place, Secret

PROTOCOLS: tuple[MailProtocol, ...] = ("smtp", "imap")
SECRETS = ("password", "refresh_token", "client_secret")
"""The encrypted columns of a server; empty or NULL if there is no such secret."""

NO_SECRET = b""

_DESTINATION: Mapping[MailProtocol, Callable[[Any], tuple[Any, ...]]] = {
    protocol: attrgetter(*(f"{protocol}_{name}" for name in (*IDENTITY, "tls_fingerprint"))) for protocol in PROTOCOLS
}
"""The columns that determine where a server's secrets are sent, besides the address and the client of a consent."""
_COLUMNS: Mapping[MailProtocol, Callable[[Any], tuple[Any, ...]]] = {
    protocol: attrgetter(*(f"{protocol}_{name}" for name in SERVER_FIELDS[protocol])) for protocol in PROTOCOLS
}


class StoredServer(NamedTuple):
    """A stored server config without its secrets."""

    has_password: bool
    oauth2: StoredOAuth2 | None

    # In the order of `SERVER_FIELDS`.
    server: str
    port: int
    username: str
    secure: bool
    tls_fingerprint: str | None
    max_retries: int = 0

    @property
    def secrets(self) -> list[str]:
        """The `SECRETS` that a login needs."""
        if self.oauth2 is None:
            return ["password"]
        return ["refresh_token", "client_secret"] if self.oauth2.has_client_secret else ["refresh_token"]


class StoredInbox(NamedTuple):
    """One shared inbox: the columns of its table except `search_key`."""

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
    smtp_consent_id: str | None

    imap_server: str
    imap_port: int
    imap_username: str
    imap_password: bytes
    imap_secure: bool
    imap_tls_fingerprint: str | None
    imap_oauth2: dict[str, Any] | None
    imap_refresh_token: bytes | None
    imap_client_secret: bytes | None
    imap_consent_id: str | None
    imap_max_retries: int

    version: int
    created_at: datetime
    updated_at: datetime
    created_by_id: str | None

    @property
    def search_key(self) -> str:
        """The text that a search matches."""
        return folded("\n".join((self.name, self.email, self.description or "")))

    @property
    def smtp(self) -> StoredServer:
        has_password = self.smtp_password != NO_SECRET and self.smtp_username != ""  # empty: a relay without login
        return StoredServer(has_password, _oauth2(self.smtp_oauth2, self.smtp_client_secret), *_COLUMNS["smtp"](self))

    @property
    def imap(self) -> StoredServer:
        has_password = self.imap_password != NO_SECRET
        return StoredServer(has_password, _oauth2(self.imap_oauth2, self.imap_client_secret), *_COLUMNS["imap"](self))

    def server(self, protocol: MailProtocol) -> StoredServer:
        return self.smtp if protocol == "smtp" else self.imap

    def as_values(self) -> dict[str, Any]:
        """Returns the input that would set this inbox, without secrets."""
        values = {outside: getattr(self, name) for name, outside in INBOX_FIELDS.items()}
        return values | {protocol: self._server_values(protocol) for protocol in PROTOCOLS}

    def _server_values(self, protocol: MailProtocol) -> dict[str, Any]:
        fields = SERVER_FIELDS[protocol].items()
        values = {outside: getattr(self, f"{protocol}_{name}") for name, outside in fields}
        consent = self.server(protocol).oauth2
        return values | {"oauth2": consent.as_values()} if consent else values


def _oauth2(stored: dict[str, Any] | None, client_secret: bytes | None) -> StoredOAuth2 | None:
    return (
        StoredOAuth2.of(stored, has_client_secret=bool(client_secret)) if stored and isinstance(stored, dict) else None
    )


def secret_place(inbox: StoredInbox, protocol: MailProtocol, name: str) -> Place:
    """Returns what the encryption of one of the `SECRETS` is bound to: its place, and where it is sent."""
    consent = inbox.smtp_oauth2 if protocol == "smtp" else inbox.imap_oauth2
    goes_to = (consent.get("token_url"), consent.get("client_id")) if isinstance(consent, dict) else (None, None)
    return Place("email_inbox", inbox.id, f"{protocol}_{name}", _DESTINATION[protocol](inbox) + goes_to)


def account(inbox: StoredInbox, protocol: MailProtocol, keyring: Keyring) -> Account:
    """Returns the account at the server, with its secrets in clear. Raises DecryptionError."""
    server = inbox.server(protocol)
    consent = server.oauth2
    login: Secret | Grant
    if consent:
        client_secret = secret_of(inbox, protocol, "client_secret", keyring) if consent.has_client_secret else None
        refresh_token = secret_of(inbox, protocol, "refresh_token", keyring)
        consent_id: str | None = getattr(inbox, f"{protocol}_consent_id")
        origin = StoredGrant(inbox.id, protocol, consent_id) if consent_id else None
        login = Grant(consent.token_url, consent.client_id, client_secret, refresh_token, consent.scope, origin)
    else:
        login = secret_of(inbox, protocol, "password", keyring)
    return Account(server.server, server.port, server.username, server.secure, login, server.tls_fingerprint)


def secret_of(inbox: StoredInbox, protocol: MailProtocol, name: str, keyring: Keyring) -> Secret:
    """Decrypts one of the `SECRETS`. Raises DecryptionError."""
    stored: bytes | None = getattr(inbox, f"{protocol}_{name}")
    return keyring.decrypt(stored or NO_SECRET, secret_place(inbox, protocol, name))


def lost_secrets(inbox: StoredInbox, protocol: MailProtocol, names: Iterable[str], keyring: Keyring) -> list[str]:
    """Returns which of these `SECRETS` can't be decrypted for the server in the same row."""
    return [name for name in names if _is_lost(inbox, protocol, name, keyring)]


def _is_lost(inbox: StoredInbox, protocol: MailProtocol, name: str, keyring: Keyring) -> bool:
    try:
        secret_of(inbox, protocol, name, keyring)
    except DecryptionError:
        return True
    return False
