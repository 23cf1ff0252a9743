"""Parses X.509 certificates. Does not verify them."""

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from mail.report import Certificate
from models.errors import ErrorCode, MailFailure

MAX_NAMES = 20


def certificate(der: bytes | None) -> Certificate:
    """Parses a DER certificate. Raises MailFailure if it can't be read."""
    try:
        return _parse(der or b"")
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise MailFailure(
            ErrorCode.CERTIFICATE_INVALID,
            "The server's certificate can't be read.",
            "server",
            hint="The operator of the mail server must put up another certificate.",
        ) from None


def authorities(pem: bytes) -> bytes:
    """Converts the PEM certificates of a file to DER. Raises ValueError."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except x509.InvalidVersion as error:
        raise ValueError from error
    return b"".join(authority.public_bytes(Encoding.DER) for authority in found)


def _parse(der: bytes) -> Certificate:
    found = x509.load_der_x509_certificate(der)
    return Certificate(
        _name(found.subject),
        _name(found.issuer),
        _names(found),
        found.not_valid_before_utc,
        found.not_valid_after_utc,
        hashlib.sha256(der).hexdigest(),
    )


def _name(name: x509.Name) -> str:
    """Returns the common name if there is one (`Example CA`), else the whole distinguished name."""
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return _printable(str(common[0].value) if common else name.rfc4514_string())


def _names(found: x509.Certificate) -> list[str]:
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    hosts = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return [_printable(host) for host in hosts[:MAX_NAMES]]


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:200]
