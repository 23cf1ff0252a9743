"""The types of text and number that inputs consist of, each with its validation."""

import functools
import re
import secrets
import unicodedata
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Annotated, Any

import idna
from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError

from models.blanks import where_blank
from models.errors import ErrorCode

ID_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz"
ID_LENGTH = 17
_CHARACTER_OF = bytes(ord(ID_ALPHABET[byte % len(ID_ALPHABET)]) for byte in range(256))
_BIASED_BYTES = bytes(range(256 - 256 % len(ID_ALPHABET), 256))
"""Bytes that would favour the first characters of the alphabet."""
_RANDOM_BYTES = 32
"""Random bytes: fewer than an id needs remain only once in a million draws."""

MAX_KEY = 600
MAX_ADDRESS = 254
MAX_PASSWORD = 1_000
MAX_HOST = 253

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_INVISIBLE_OR_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufff9-\ufffb]"
)
"""Controls, and characters that are invisible or reorder the text (UAX #9, explicit directional formatting).

Directional marks and joiners are allowed: scripts that are written from right to left need them.
"""
_IGNORABLE = re.compile(
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f"
    r"\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Invisible characters (Unicode, Default_Ignorable_Code_Point), and the braille cell without dots."""
_PLAIN_ADDRESS = re.compile(
    r"(?=.{1,254}\Z)[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*"
    r"@((?!..--)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)
"""Addresses that need no check beyond this pattern and only case folding: almost all of them."""
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,15}")
_FINGERPRINT = re.compile("([Ss][Hh][Aa]-?256( [Ff]ingerprint)?[:=] ?)?([0-9A-Fa-f]{2}([ :-]?[0-9A-Fa-f]{2}){31})")
_HTTPS_URL = re.compile(r"https://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(:[0-9]{1,5})?([/?][!$-~]*)?")
_HOST_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?")
_AMBIGUOUS = re.compile(r"""=\?|[\s()<>\[\]:;@\\,"]""")
"""In a local part, this begins an encoded word (RFC 2047) or ends an atom (RFC 5322, 3.2.3): a parser of the header
field, or one that normalizes first, would read another address."""


class Published:
    """The keywords of JSON Schema for a validator, so that each rule is defined once."""

    def __init__(self, **keywords: object) -> None:
        self._keywords = keywords

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), **self._keywords}


def random_id() -> str:
    """Returns a new id of 17 characters, without those that look alike (the form of Rocket.Chat's ids)."""
    characters = b""
    while len(characters) < ID_LENGTH:
        characters = secrets.token_bytes(_RANDOM_BYTES).translate(_CHARACTER_OF, _BIASED_BYTES)
    return characters[:ID_LENGTH].decode("ascii")


def folded(text: str) -> str:
    """Returns the form of `text` for comparison without case and compatibility forms (Unicode, NFKC_Casefold)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def address_key(address: str) -> str:
    """Returns the form in which an e-mail address is unique: local part folded, domain in IDNA's ASCII form.

    Raises ValueError if `address` is not an address (RFC 5321, 6531). The length is checked first: the time to
    normalize a text, or to encode it with IDNA, grows with the square of its length.
    """
    if len(address) > MAX_ADDRESS:
        raise ValueError("too long")
    if _PLAIN_ADDRESS.fullmatch(address):
        return address.lower()
    found = _parser()(address)
    return f"{folded(found.local_part)}@{found.ascii_domain.lower()}"


@functools.cache
def _parser() -> Callable[[str], Any]:
    """Imports the parser at the first use: compiling its patterns takes longer than all others at startup."""
    import email_validator

    # A team's mail server may be under .local, .internal or localhost: only the form of an address is checked.
    email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()
    return functools.partial(
        email_validator.validate_email, check_deliverability=False, globally_deliverable=False, allow_smtputf8=True
    )


def invalid(message: str, code: ErrorCode = ErrorCode.INVALID) -> PydanticCustomError:
    """Returns the error for a value. `message` continues the sentence that starts with the field's name."""
    return PydanticCustomError("refused", "{message}", {"message": message, "code": code})


def is_line(text: str) -> bool:
    """Whether the text is valid Unicode without line breaks and other control characters."""
    return not _SURROGATE.search(text) and not _CONTROL.search(text)


def _no_surrogates(text: str) -> str:
    if _SURROGATE.search(text):
        raise invalid("must be valid Unicode: it contains half of a surrogate pair")
    return text


def _one_line(text: str) -> str:
    if _CONTROL.search(_no_surrogates(text)):
        raise invalid("must not contain line breaks or other control characters")
    return text


def _without_controls(text: str) -> str:
    if _INVISIBLE_OR_CONTROL.search(_one_line(text)):
        raise invalid("must not contain invisible characters or characters that change the text direction")
    return text


def is_seen(text: str) -> bool:
    """Whether every character of the text is visible: otherwise, two different names could look the same."""
    return not _IGNORABLE.search(text)


def _lines(text: str) -> str:
    if _CONTROL_BUT_LINES.search(_no_surrogates(text)):
        raise invalid("must not contain control characters other than line breaks and tabs")
    return text


def _not_blank(text: str) -> str:
    if not _IGNORABLE.sub("", text).strip():
        raise invalid("must not be blank", ErrorCode.REQUIRED)
    return text


def _foldable(text: str) -> str:
    """Limits the folded length: one character may fold to eighteen, and the key of an index has a maximum length."""
    if len(folded(text)) > MAX_KEY:
        raise invalid("is too long when it is compared without regard to case", ErrorCode.TOO_LONG)
    return text


def _not_empty(text: str) -> str:
    if not text:
        raise invalid("must not be empty; leave it out to keep the stored one")
    return text


def _identifier(text: str) -> str:
    if not _IDENTIFIER.fullmatch(text):
        raise invalid("must be 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
    return text


def _without_blanks(text: str) -> str:
    """Refuses blanks, because IDNA silently removes some invisible characters."""
    if found := where_blank(text):
        raise invalid(f"{found}: remove it")
    return text


def _address(text: str) -> str:
    if not _is_address(text):
        raise invalid("must be an e-mail address, such as support@example.org")
    return text


def _is_address(text: str) -> bool:
    try:
        local = address_key(text).rpartition("@")[0]
    except ValueError:
        return False
    return not _AMBIGUOUS.search(local)


def _host(text: str) -> str:
    if not _is_host(text):
        raise invalid("must be a host name or IP address alone, without scheme, port or path")
    return text


def _is_host(text: str) -> bool:
    """Whether the text is an IP address without a zone, or a name that DNS can resolve (RFC 1123, RFC 5891)."""
    if ":" in text:
        return "%" not in text and _is_ipv6(text.removeprefix("[").removesuffix("]"))
    try:
        name = text if text.isascii() else idna.encode(text, uts46=True).decode("ascii")
        return all(map(_is_label, name.removesuffix(".").split(".")))
    except UnicodeError:  # idna.IDNAError is one
        return False


def _is_label(label: str) -> bool:
    """Raises UnicodeError if the label has IDNA's prefix but is not valid IDNA."""
    if label[:4].lower() == "xn--":
        idna.ulabel(label)
    return len(label) <= 63 and _HOST_LABEL.fullmatch(label) is not None


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _https_url(text: str) -> str:
    found = _HTTPS_URL.fullmatch(text)
    if not found or not _is_host(found[1]) or not 0 < int((found[2] or ":443")[1:]) <= 65_535:
        raise invalid("must be an address that starts with https://, without user, password and fragment")
    return text


def _fingerprint(text: str) -> str:
    found = _FINGERPRINT.fullmatch(text)
    if not found:
        raise invalid(
            "must be the SHA-256 fingerprint of the server's certificate: 64 hexadecimal digits, with or without "
            "colons, as `openssl x509 -noout -fingerprint -sha256` prints it"
        )
    return re.sub("[ :-]", "", found[3]).lower()


def _parse_number(value: Any) -> Any:
    """Accepts numbers as strings, which old clients send: "587". Refuses booleans, which Python counts as integers."""
    if isinstance(value, bool):
        raise invalid("must be a whole number")
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _parse_boolean(value: Any) -> Any:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value, value)
    return value


_PLAIN = Published(pattern=f"^[^{_CONTROL.pattern[1:]}*$")
_NO_CONTROLS = Published(pattern=f"^[^{_INVISIBLE_OR_CONTROL.pattern[1:]}*$")
_LINES = Published(pattern=f"^[^{_CONTROL_BUT_LINES.pattern[1:]}*$")
_FILLED = Published(minLength=1)

Identifier = Annotated[str, AfterValidator(_identifier), Published(pattern=f"^{_IDENTIFIER.pattern}$")]
Line = Annotated[str, Field(max_length=200), AfterValidator(_without_controls), _NO_CONTROLS]
Name = Annotated[Line, AfterValidator(_not_blank), AfterValidator(_foldable), _FILLED]
Text = Annotated[str, Field(max_length=2_000), AfterValidator(_lines), _LINES]
EmailAddress = Annotated[
    str,
    Field(max_length=MAX_ADDRESS),
    AfterValidator(_one_line),
    AfterValidator(_foldable),
    AfterValidator(_without_blanks),
    AfterValidator(_address),
    Published(format="idn-email"),
]
Host = Annotated[
    str,
    Field(max_length=MAX_HOST),
    AfterValidator(_one_line),
    AfterValidator(_not_blank),
    AfterValidator(_without_blanks),
    AfterValidator(_host),
    Published(format="host"),
]
Username = Annotated[
    str, Field(max_length=1_000), AfterValidator(_one_line), AfterValidator(_not_blank), _PLAIN, _FILLED
]
Password = Annotated[
    str, Field(max_length=MAX_PASSWORD), AfterValidator(_one_line), AfterValidator(_not_empty), _PLAIN, _FILLED
]
RelayUsername = Annotated[str, Field(max_length=1_000), AfterValidator(_one_line), AfterValidator(_not_blank), _PLAIN]
RelayPassword = Annotated[str, Field(max_length=1_000), AfterValidator(_one_line), AfterValidator(_not_empty), _PLAIN]
"""For a server that may need no login. The model, which sees both fields, allows both to be empty."""
LongSecret = Annotated[
    str, Field(max_length=10_000), AfterValidator(_one_line), AfterValidator(_not_empty), _PLAIN, _FILLED
]
LongLine = Annotated[str, Field(max_length=2_000), AfterValidator(_one_line), _PLAIN]
HttpsUrl = Annotated[
    str,
    Field(max_length=2_000),
    AfterValidator(_no_surrogates),
    AfterValidator(_without_blanks),
    AfterValidator(_https_url),
    Published(pattern=f"^{_HTTPS_URL.pattern}$"),
]
Fingerprint = Annotated[
    str, Field(max_length=200), AfterValidator(_fingerprint), Published(pattern=f"^{_FINGERPRINT.pattern}$")
]
Integer = Annotated[int, Field(strict=True, ge=-(2**31), le=2**31 - 1), BeforeValidator(_parse_number)]
Port = Annotated[int, Field(strict=True, ge=1, le=65_535), BeforeValidator(_parse_number)]
Retries = Annotated[int, Field(strict=True, ge=-1, le=2**31 - 1), BeforeValidator(_parse_number)]
Boolean = Annotated[bool, Field(strict=True), BeforeValidator(_parse_boolean)]
