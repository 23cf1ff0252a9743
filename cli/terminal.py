"""Prints lines on stdout and stderr, escaped for a terminal."""

import re

import typer

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters, which move the cursor or start escape sequences
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls, which reorder text
    "\u2028\u2029\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"  # line separators and invisible characters
)


def printable(text: str) -> str:
    """The text as one line, with control and invisible characters escaped, such as `\\x1b`."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def say(text: str) -> None:
    """Prints a line of the result on stdout."""
    typer.echo(printable(text))


def complain(text: str) -> None:
    """Prints a line on stderr."""
    typer.echo(printable(text), err=True)


def counted(number: int, one: str, many: str) -> str:
    """A number with its noun, such as `1 inbox` or `2 inboxes`."""
    return f"{number:,} {one if number == 1 else many}"
