"""Good and bad certificates, each in a file with its key."""

import hashlib
import ssl
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from ssl import DER_cert_to_PEM_cert, PEM_cert_to_DER_cert

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.mail.addresses import NAME, OTHER_NAME, At

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
WEAK_DH = """-----BEGIN DH PARAMETERS-----
MIGHAoGBAP//////////yQ/aoiFowjTExmKLgNwc0SkCTgiKZ8x0Agu+pjsTmyJR
Sgh5jjQE3e+VGbPNOkMbMCsKbfJfFDdP4TVtbVHCReSFtXZiXn7G9ExC6aY37WsL
/1y29Aa37e44a/taiZ+lrp8kEXxLH+ZJKGZR7OZTgf//////////AgEC
-----END DH PARAMETERS-----
"""
"""Diffie-Hellman parameters of 1024 bits, as old servers use them (RFC 2409, 6.2)."""
DAYS_LEFT = 20
"""How long the certificate at `At.ENDING` remains valid."""
SPOILED = {
    "an extension twice": (b"\x2a\x03\x04\x06", b"\x2a\x03\x04\x05"),
    "an unknown version": (bytes.fromhex("a003020102"), bytes.fromhex("a003020104")),
    "an unknown kind of name": (b"\x82%c" % len(NAME) + NAME.encode(), b"\xa3%c" % len(NAME) + NAME.encode()),
}
"""Changes that make a certificate unparsable, though OpenSSL accepts it: the bytes and their replacement."""


class Certificates:
    """One authority, which is in `ca_file`, and certificates that it and others have signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, stranger = trustme.CA(), trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca_file))
        names, now = [NAME, "localhost", *At], datetime.now(UTC)
        issue, day = self.authority.issue_cert, timedelta(1)
        good = issue(*names)
        made = {
            At.EXPIRED: issue(*names, not_before=now - 90 * day, not_after=now - day),
            At.STRANGER: stranger.issue_cert(*names),
            At.MISNAMED: issue(OTHER_NAME),
            At.ENDING: issue(*names, not_before=now - 70 * day, not_after=now + timedelta(DAYS_LEFT, hours=1)),
        }
        for at in At:
            self._write(at, self_signed(names, now) if at is At.SELF_SIGNED else pem_of(made.get(at, good)))

    def _write(self, at: At, pem: bytes) -> None:
        self.file(at).write_bytes(pem)
        self.file(at).chmod(0o600)

    def file(self, at: At) -> Path:
        """Returns the file with the key and the chain of the certificate at the address."""
        return self.folder / f"{at.name.lower()}.pem"

    def fingerprint(self, at: At) -> str:
        certificate = x509.load_pem_x509_certificate(self.file(at).read_bytes())
        return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()

    def server_context(self, at: At = At.GOOD) -> ssl.SSLContext:
        return context_of(self.file(at))

    def demanding_context(self) -> ssl.SSLContext:
        """Returns the context of a server that requires client certificates."""
        context = self.server_context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.ca_file)
        return context

    def alone_context(self) -> ssl.SSLContext:
        """Returns the context of a server that sends its certificate without the intermediate one that signed it."""
        leaf = self.authority.create_child_ca().issue_cert(NAME)
        return self._context(leaf.private_key_pem.bytes() + leaf.cert_chain_pems[0].bytes())

    def whole_context(self) -> ssl.SSLContext:
        """Returns the context of a server that sends its intermediate certificate, but of an unknown authority."""
        return self._context(pem_of(trustme.CA().create_child_ca().issue_cert(NAME)))

    def old_context(self, ciphers: str, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
        """Returns the context of a server with these ciphers and versions, and a Diffie-Hellman key of 1024 bits."""
        context = self._context(pem_of(self.authority.issue_cert(NAME, key_type=trustme.KeyType.RSA)))
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = newest
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        parameters = self.folder / "dh.pem"
        parameters.write_text(WEAK_DH)
        context.load_dh_params(str(parameters))
        return context

    def weak_key_context(self) -> ssl.SSLContext:
        """Returns the context of a server whose certificate has an RSA key of 1024 bits."""
        return self._context(
            self_signed([NAME], datetime.now(UTC), rsa.generate_private_key(65_537, 1_024)), "@SECLEVEL=0"
        )

    def _context(self, pem: bytes, ciphers: str = "") -> ssl.SSLContext:
        file = self.folder / "made.pem"
        file.write_bytes(pem)
        return context_of(file, ciphers)

    def spoiled_context(self, spoiled: str) -> tuple[ssl.SSLContext, str]:
        """Returns the context of a server with such a certificate, and the certificate's fingerprint."""
        key, begin, text = self.file(At.SELF_SIGNED).read_text().partition("-----BEGIN CERTIFICATE")
        before = PEM_cert_to_DER_cert(begin + text)
        found = before.replace(*SPOILED[spoiled])
        assert found != before
        file = self.folder / "spoiled.pem"
        file.write_text(key + DER_cert_to_PEM_cert(found))
        return context_of(file), hashlib.sha256(found).hexdigest()


def context_of(file: Path, ciphers: str = "") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if ciphers:
        context.set_ciphers(f"DEFAULT:{ciphers}")
    context.load_cert_chain(file)
    return context


def pem_of(certificate: trustme.LeafCert) -> bytes:
    return certificate.private_key_and_cert_chain_pem.bytes()


def self_signed(names: list[str], now: datetime, key: PrivateKey | None = None) -> bytes:
    """Returns a key and a self-signed certificate."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(365))
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names[:2]])
    unknown = [x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.3.4.{number}"), b"") for number in (5, 6)]
    for extension in (alternatives, *unknown):
        builder = builder.add_extension(extension, critical=False)
    signed = builder.sign(key, hashes.SHA256())
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    return private + signed.public_bytes(encoding)
