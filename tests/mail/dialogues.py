"""Scripts of good SMTP and IMAP servers, with a canary in every line, that a test can change.

`dialogue(IMAP, GREETING=close())` is a script. `SELECT=...` sets the response to a command, and `CAPABILITY_TLS=...`
the response within TLS only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.mail.scripted import Peer, Step, both, hear, say, secure

CANARY = "canarius"
"""A text that must not appear anywhere outside the connection."""


@dataclass(frozen=True)
class Protocol:
    """`name`, the index of the verb within a command, the greeting, and the response to each command."""

    name: str
    verb: int
    greeting: Step
    answers: Mapping[str, Step]
    unknown: Step


def _ok(*before: str) -> Step:
    return say(*before, f"{{tag}} OK {CANARY}")


IMAP = Protocol(
    "IMAP",
    1,
    say(f"* OK {CANARY} ready"),
    {
        "CAPABILITY": _ok("* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN IDLE"),
        "STARTTLS": both(_ok(), secure()),
        "AUTHENTICATE": both(say("+ "), hear(), _ok()),
        "LOGIN": _ok(),
        "SELECT": _ok("* 0 EXISTS"),
        "EXAMINE": _ok("* 0 EXISTS"),
        "LOGOUT": _ok(f"* BYE {CANARY}"),
    },
    say(f"{{tag}} BAD {CANARY}"),
)
SMTP = Protocol(
    "SMTP",
    0,
    say(f"220 mail.example.test {CANARY}"),
    {
        "EHLO": say(f"250-mail.example.test {CANARY}", "250-STARTTLS", "250-AUTH PLAIN LOGIN", "250 SMTPUTF8"),
        "STARTTLS": both(say(f"220 {CANARY}"), secure()),
        "AUTH": say(f"235 2.7.0 {CANARY}"),
        "MAIL": say(f"250 2.1.0 {CANARY}"),
        "RCPT": say(f"250 2.1.5 {CANARY}"),
        "DATA": both(say(f"354 {CANARY}"), hear(b"."), say(f"250 2.0.0 {CANARY}")),
        "RSET": say(f"250 2.0.0 {CANARY}"),
        "QUIT": say(f"221 2.0.0 {CANARY}"),
    },
    say(f"502 5.5.1 {CANARY}"),
)


def dialogue(protocol: Protocol, **otherwise: Step) -> list[Step]:
    """Returns the script of a good server, with these responses changed."""
    answers = {**protocol.answers, **otherwise}

    def obey(peer: Peer) -> None:
        while True:
            peer.line = peer.read_line()
            answer(peer)

    def answer(peer: Peer) -> None:
        words = peer.line.decode("latin-1").upper().split()
        verb = words[protocol.verb] if len(words) > protocol.verb else ""
        found = answers.get(verb, protocol.unknown)
        (answers.get(f"{verb}_TLS", found) if peer.is_encrypted else found)(peer)

    return [answers.get("GREETING", protocol.greeting), obey]
