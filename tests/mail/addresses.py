"""What each loopback address shows whoever connects: the same for IMAP and for SMTP. Knows no server's program."""

from enum import StrEnum

NAME = "mail.example.test"
"""The name that the good certificates are for."""
OTHER_NAME = "other.example.test"
"""The name that the certificate at `At.MISNAMED` is for."""


class At(StrEnum):
    """An address. Nobody but root can give macOS more than the first, but there are no Debian packages there either."""

    GOOD = "127.0.0.1"
    """A good certificate; a password is taken in clear."""
    STRICT = "127.0.0.2"
    """A good certificate; no password is taken before TLS, and no access token over XOAUTH2 by SMTP."""
    CLEAR = "127.0.0.3"
    """No TLS at all."""
    EXPIRED = "127.0.0.4"
    STRANGER = "127.0.0.5"
    """A certificate of an authority that nobody knows."""
    SELF_SIGNED = "127.0.0.6"
    MISNAMED = "127.0.0.7"
    ENDING = "127.0.0.8"
    """A good certificate, for 20 more days."""


WITH_TLS = [at for at in At if at is not At.CLEAR]
