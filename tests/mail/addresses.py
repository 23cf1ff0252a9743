"""The behaviour of the servers at each loopback address, the same for IMAP and SMTP."""

from enum import StrEnum

NAME = "mail.example.test"
"""The name that the good certificates are for."""
OTHER_NAME = "other.example.test"
"""The name that the certificate at `At.MISNAMED` is for."""


class At(StrEnum):
    """An address. On macOS only root can add more than the first, but that has no Debian packages either."""

    GOOD = "127.0.0.1"
    """A good certificate; passwords are accepted in clear."""
    STRICT = "127.0.0.2"
    """A good certificate; no password is accepted before TLS, and SMTP has no XOAUTH2."""
    CLEAR = "127.0.0.3"
    """No TLS at all."""
    EXPIRED = "127.0.0.4"
    STRANGER = "127.0.0.5"
    """A certificate of an unknown authority."""
    SELF_SIGNED = "127.0.0.6"
    MISNAMED = "127.0.0.7"
    ENDING = "127.0.0.8"
    """A good certificate that expires in 20 days."""


WITH_TLS = [at for at in At if at is not At.CLEAR]
