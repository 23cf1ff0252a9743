"""Finds blanks and invisible characters that a paste leaves in a text."""

import re
import unicodedata

_NAMES = {
    " ": "a space",
    "\t": "a tab",
    "\n": "a line break",
    "\r": "a line break",
    "\u00a0": "a no-break space (U+00A0)",
    "\u202f": "a narrow no-break space (U+202F)",
    "\u200b": "a zero-width space (U+200B)",
    "\ufeff": "a byte order mark (U+FEFF)",
}
_JOINERS = "\u200c\u200d"
"""Invisible, and part of words in some scripts; domain names may hold them (RFC 5892, A.1 and A.2)."""
_LOOK_BLANK = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols that are displayed as a blank."""
_GROUPS = re.compile("[A-Za-z0-9]{4}( [A-Za-z0-9]{4}){2,7}")


def is_blank(character: str) -> bool:
    """Whether the character is invisible: a space, a control or a format character."""
    return character.isspace() or character in _LOOK_BLANK or unicodedata.category(character) in ("Cc", "Cf")


def has_outer(text: str) -> bool:
    """Whether the text begins or ends with a blank."""
    return bool(text) and (is_blank(text[0]) or is_blank(text[-1]))


def has_hidden(text: str) -> bool:
    """Whether the text contains a blank other than a plain space: users paste these, but do not type them."""
    return not text.isascii() and any(is_blank(character) for character in text if character not in " " + _JOINERS)


def where_blank(text: str) -> str | None:
    """Returns a predicate about a blank in the text: `begins with a space`. Not for secrets."""
    for place, character in (("begins with", text[:1]), ("ends with", text[-1:])):
        if character and is_blank(character):
            return f"{place} {_name(character)}"
    found = next((character for character in text if character not in _JOINERS and is_blank(character)), None)
    return f"holds {_name(found)}" if found else None


def in_groups(text: str) -> bool:
    """Whether the text looks like an app password as providers display it: `abcd efgh ijkl mnop`."""
    return _GROUPS.fullmatch(text) is not None


def _name(character: str) -> str:
    return _NAMES.get(character, f"an invisible character (U+{ord(character):04X})")
