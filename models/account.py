"""What a mail server is reached by, secrets included: what `mail/` is given. Knows no table and no input."""

from dataclasses import dataclass
from typing import Literal

from models.secrets import Secret


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """Where a consent is stored: of an inbox, the server with this protocol.

    `consent_id` is the same in every inbox that holds the consent.
    """

    inbox_id: str
    protocol: Literal["smtp", "imap"]
    consent_id: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A consent to read and send mail: what an access token is fetched with (RFC 6749, 6).

    `origin` is where it is stored; None: it is not.
    """

    token_url: str
    client_id: str
    client_secret: Secret | None
    refresh_token: Secret
    scope: str | None = None
    origin: StoredGrant | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """An account at one mail server. `login` is its password, or the grant that stands in for one.

    `tls_fingerprint` is the SHA-256 of the one certificate that is trusted, as 64 lower-case hexadecimal digits; None:
    the certificate must be verified.
    """

    server: str
    port: int
    username: str
    secure: bool
    login: Secret | Grant
    tls_fingerprint: str | None = None
