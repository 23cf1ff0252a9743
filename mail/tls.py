"""TLS trust: the contexts, certificate pinning, and why a handshake failed.

No setting turns verification off. A certificate must verify against the CAs of the machine and of EMAIL_INBOX_CA_FILE,
for the name that the client entered; or its fingerprint must be the one that the inbox pins.
"""

import ssl
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mail.offload import in_thread
from mail.report import Certificate
from models.account import Account
from models.errors import ErrorCode, MailFailure

CLEAR_TEXT = {
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "UNKNOWN_PROTOCOL",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
}
"""OpenSSL's reasons when the peer answers in cleartext."""

# The codes of verification errors: OpenSSL, x509_vfy.h.
EXPIRED, _NOT_YET_VALID, SELF_SIGNED, _SELF_SIGNED_ABOVE = 10, 9, 18, 19
OF_ANOTHER_NAME = (62, 64)
_UNKNOWN_ISSUER = (2, 20, 21)
_NOT_FOR_SERVERS = 26
_TOO_WEAK = (66, 67, 68)


@dataclass(frozen=True, slots=True)
class Weakness:
    """Outdated or weak TLS: OpenSSL's reasons, the rest of a sentence about the server, and the fix."""

    reasons: str
    rest: str
    hint: str


_UPDATE_TLS = "Have the operator of the server bring its TLS up to date"
_WEAK_CERTIFICATE = Weakness(
    "EE_KEY_TOO_SMALL CA_KEY_TOO_SMALL CA_MD_TOO_WEAK",
    "has a certificate with a key that is too small, or a signature that is too weak",
    "The operator of the server needs a new certificate: RSA of at least 2048 bits, signed with SHA-256.",
)
_WEAKNESSES = (
    _WEAK_CERTIFICATE,
    Weakness(
        "DH_KEY_TOO_SMALL BAD_DH_VALUE MODULUS_TOO_SMALL",
        "has a Diffie-Hellman key that is too small (weak DH)",
        f"{_UPDATE_TLS}: Diffie-Hellman parameters of at least 2048 bits, or elliptic curves (ECDHE).",
    ),
    Weakness(
        "UNSUPPORTED_PROTOCOL TLSV1_ALERT_PROTOCOL_VERSION WRONG_SSL_VERSION VERSION_TOO_LOW",
        "speaks only old versions of TLS: 1.2 or newer is needed",
        f"{_UPDATE_TLS}: TLS 1.0 and 1.1 are not safe any more (RFC 8996).",
    ),
    Weakness(
        "SSLV3_ALERT_HANDSHAKE_FAILURE TLSV1_ALERT_INSUFFICIENT_SECURITY NO_CIPHERS_AVAILABLE WRONG_CIPHER_RETURNED "
        "UNKNOWN_CIPHER_RETURNED WRONG_SIGNATURE_TYPE LEGACY_SIGALG_DISALLOWED_OR_UNSUPPORTED",
        "offers none of the ciphers that are safe today",
        f"{_UPDATE_TLS}: TLS 1.3, or TLS 1.2 with ECDHE and AES-GCM. Old ciphers (RC4, 3DES, SHA-1) are not accepted, "
        "nor those without forward secrecy.",
    ),
    Weakness(
        "UNSAFE_LEGACY_RENEGOTIATION_DISABLED",
        "speaks a TLS that is open to attack: it does not know secure renegotiation (RFC 5746)",
        f"{_UPDATE_TLS}.",
    ),
)

_TRUST_HINT = (
    "The operator of this server can name the authority in EMAIL_INBOX_CA_FILE. Or set tlsFingerprint to trust this "
    "certificate alone, once the operator of the mail server has confirmed its fingerprint."
)


class Trust:
    """The TLS contexts of this server. `ca_file` adds CAs, in PEM, to those of the machine."""

    def __init__(self, ca_file: Path | None = None) -> None:
        """Reads the file once. Raises OSError, and ValueError if it has no certificate."""
        self._authorities = b""
        if ca_file:
            from mail.certificate import authorities  # slow to import

            self._authorities = authorities(ca_file.read_bytes())

    @cached_property
    def verifying(self) -> ssl.SSLContext:
        """Verifies the certificate and the host name."""
        return self._verifying()

    @cached_property
    def https(self) -> ssl.SSLContext:
        """Verifies too. Separate, because the HTTP client sets ALPN on it, which mail servers must not see."""
        return self._verifying()

    @cached_property
    def looking(self) -> ssl.SSLContext:
        """Accepts any certificate, so that it can be read. Its fingerprint is compared before anything is sent."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    async def context_for(self, account: Account) -> ssl.SSLContext:
        """Returns the context for this account. The caller must call `accept` after the handshake."""
        if account.tls_fingerprint:
            return self.looking
        return await in_thread(lambda: self.verifying)  # the first time, it loads all CAs of the machine

    def _verifying(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._authorities:
            context.load_verify_locations(cadata=self._authorities)
        return context


def accept(account: Account, found: Certificate) -> None:
    """Compares the fingerprint with the account's, if it has one. Raises MailFailure if they differ."""
    if account.tls_fingerprint not in (None, found.fingerprint):
        raise MailFailure(
            ErrorCode.CERTIFICATE_INVALID,
            "The server's certificate is not the one that tlsFingerprint names.",
            "tlsFingerprint",
            hint="If the server was given a new certificate, set tlsFingerprint to the fingerprint that is shown here, "
            "after its operator has confirmed it.",
        )


def speaks_clear(error: OSError) -> bool:
    """Whether the peer answered the TLS handshake in cleartext."""
    return isinstance(error, ssl.SSLError) and error.reason in CLEAR_TEXT


def tls_failure(error: OSError, account: Account, seen: Certificate | None) -> MailFailure:
    """Explains a failed handshake. `seen` is the refused certificate, if it could be fetched."""
    if isinstance(error, ssl.SSLCertVerificationError):
        message, hint = _explain_refusal(error.verify_code, account, seen)
        field = "server" if error.verify_code in OF_ANOTHER_NAME else "tlsFingerprint"
        return MailFailure(ErrorCode.CERTIFICATE_INVALID, message, field, hint=hint)
    if speaks_clear(error):
        return MailFailure(
            ErrorCode.TLS_FAILED,
            f"The server does not speak TLS on port {account.port}: it greets in clear.",
            "port",
            hint="STARTTLS is on 587 for SMTP and on 143 for IMAP; TLS from the first byte on 465 and 993.",
        )
    if weak := weakness(error):
        return MailFailure(ErrorCode.TLS_FAILED, f"The server {weak.rest}.", "server", hint=weak.hint)
    return MailFailure(
        ErrorCode.TLS_FAILED,
        "The server and this one could not agree on TLS.",
        "port",
        hint="TLS 1.2 or newer is needed. Check the port, or have the mail server brought up to date.",
    )


def weakness(error: OSError) -> Weakness | None:
    """Returns the weakness of the server that made the handshake fail, if it is a known one."""
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return next((weak for weak in _WEAKNESSES if reason in weak.reasons.split()), None)


def _explain_refusal(code: int, account: Account, seen: Certificate | None) -> tuple[str, str]:
    if code in OF_ANOTHER_NAME:
        names = " and ".join(seen.names[:5]) if seen and seen.names else "another name"
        return (
            f"The server's certificate is for {names}, not for {account.server}.",
            "Set server to a name that the certificate holds.",
        )
    if code == EXPIRED:
        when = f" on {seen.expires_at:%Y-%m-%d}" if seen else ""
        return f"The server's certificate has expired{when}.", "The operator of the mail server must renew it."
    if code == _NOT_YET_VALID:
        return "The server's certificate is not valid yet.", "Check the clocks of both servers."
    if code in _TOO_WEAK:
        return f"The server {_WEAK_CERTIFICATE.rest}.", _WEAK_CERTIFICATE.hint
    if code == _NOT_FOR_SERVERS:
        return "The server's certificate is not one for servers.", "The operator of the mail server needs another one."
    return _explain_distrust(code, seen)


def _explain_distrust(code: int, seen: Certificate | None) -> tuple[str, str]:
    if code == SELF_SIGNED:
        return "The server's certificate is self-signed.", _TRUST_HINT
    if code == _SELF_SIGNED_ABOVE:
        return "The server's certificate was issued by a private authority, which is not trusted here.", _TRUST_HINT
    if code in _UNKNOWN_ISSUER and seen and seen.is_alone:
        issuer = f"{seen.issuer}, which issued its certificate, is not known here"
        hint = f"The operator of the mail server must have it send the whole chain (fullchain.pem). {_TRUST_HINT}"
        return f"The server sends no intermediate certificate, and {issuer}.", hint
    return "The server's certificate was not issued by an authority that is trusted here.", _TRUST_HINT
