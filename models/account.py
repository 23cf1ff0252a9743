"""The account at a mail server, with its secrets in clear, as `mail/` receives it. Knows no table and no input."""

from dataclasses import dataclass
from typing import Literal

from models.secrets import Secret


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """Where a consent is stored: the inbox, and which of its two servers.

    `consent_id` is the same in every inbox that holds the consent.
    """

    inbox_id: str
    protocol: Literal["smtp", "imap"]
    consent_id: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A consent to read and send mail, with which access tokens are fetched (RFC 6749, 6).

    `origin` is where it is stored; None if it is not stored.
    """

    token_url: str
    client_id: str
    client_secret: Secret | None
    refresh_token: Secret
    scope: str | None = None
    origin: StoredGrant | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """An account at one mail server. `login` is its password, or the grant that replaces one.

    `tls_fingerprint` is the SHA-256 of the one trusted certificate, as 64 lower-case hexadecimal digits. If it is None,
    the certificate must be verified.
    """

    server: str
    port: int
    username: str
    secure: bool
    login: Secret | Grant
    tls_fingerprint: str | None = None
