"""The SASL mechanisms that SMTP and IMAP share (RFC 4422, 4616, 2195, 7628)."""

import hmac
from collections.abc import Callable, Iterable, Sequence

Answer = Callable[[bytes], bytes]
"""Maps a server challenge to the client response."""


class Exchange:
    """One attempt by one mechanism. After the last answer it sends only `end`: no secret is sent twice."""

    def __init__(self, mechanism: str, *answers: Answer, is_client_first: bool = False, end: bytes = b"") -> None:
        self.mechanism = mechanism
        self.is_client_first = is_client_first
        self._answers = iter(answers)
        self._end = end

    def answer(self, challenge: bytes) -> bytes:
        """Answers the challenge. Raises ValueError if the challenge is invalid."""
        found = next(self._answers, None)
        return found(challenge) if found else self._end


def plain_mechanism(username: str, password: str) -> Exchange:
    return Exchange("PLAIN", _respond(f"\0{username}\0{password}"), is_client_first=True)


def login_mechanism(username: str, password: str) -> Exchange:
    """LOGIN (draft-murchison-sasl-login). Sends no initial response: many servers refuse a user name in the command."""
    return Exchange("LOGIN", _respond(username), _respond(password))


def cram_md5(username: str, password: str) -> Exchange:
    """CRAM-MD5 (RFC 2195). The password itself is not sent."""

    def digest(challenge: bytes) -> bytes:
        if not challenge:
            raise ValueError("CRAM-MD5 without a challenge")
        return f"{username} {hmac.new(password.encode(), challenge, 'md5').hexdigest()}".encode()

    return Exchange("CRAM-MD5", digest)


def xoauth2(username: str, token: str) -> Exchange:
    return Exchange("XOAUTH2", _respond(f"user={username}\x01auth=Bearer {token}\x01\x01"), is_client_first=True)


def oauthbearer(username: str, token: str) -> Exchange:
    name = username.replace("=", "=3D").replace(",", "=2C")  # RFC 5801, 4
    message = f"n,a={name},\x01auth=Bearer {token}\x01\x01"
    return Exchange("OAUTHBEARER", _respond(message), is_client_first=True, end=b"\x01")


Mechanism = Callable[[str, str], Exchange]
BY_PASSWORD: Sequence[tuple[str, Mechanism]] = (
    ("PLAIN", plain_mechanism),
    ("LOGIN", login_mechanism),
    ("CRAM-MD5", cram_md5),
)
BY_TOKEN: Sequence[tuple[str, Mechanism]] = (("XOAUTH2", xoauth2), ("OAUTHBEARER", oauthbearer))


def by_password(offered: Iterable[str], *, is_encrypted: bool) -> list[Mechanism]:
    """Returns the offered password mechanisms, best first. Without TLS, a digest is best."""
    ordered = BY_PASSWORD if is_encrypted else (BY_PASSWORD[-1], *BY_PASSWORD[:-1])
    return _select(offered, ordered)


def by_token(offered: Iterable[str]) -> list[Mechanism]:
    """Returns the offered access token mechanisms, best first."""
    return _select(offered, BY_TOKEN)


def _select(offered: Iterable[str], known: Iterable[tuple[str, Mechanism]]) -> list[Mechanism]:
    names = {name.upper() for name in offered}
    return [mechanism for name, mechanism in known if name in names]


def _respond(text: str) -> Answer:
    return lambda _challenge: text.encode()
