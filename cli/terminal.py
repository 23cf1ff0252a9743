"""What is printed: made safe for a terminal, on stdout or stderr. Knows no command."""

import re

import typer

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: they move the cursor, or begin what a terminal obeys
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the order of what follows is turned round
    "\u2028\u2029\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"  # lines, and what is not seen at all
)


def printable(text: str) -> str:
    """The text in one line, with what a terminal would obey or hide spelled out, such as `\\x1b`."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def say(text: str) -> None:
    """Prints a line of the result on stdout."""
    typer.echo(printable(text))


def complain(text: str) -> None:
    """Prints a line on stderr."""
    typer.echo(printable(text), err=True)


def counted(number: int, one: str, many: str) -> str:
    """Such as `1 inbox` or `2 inboxes`."""
    return f"{number:,} {one if number == 1 else many}"
