"""Detects what a paste may have spoilt in a refused login. Reveals nothing of a secret but that it has blanks."""

from mail.hosts import ascii_name
from models import blanks


def hint(username: str, password: str) -> str | None:
    """Suggests what to try first after a refused login. None if the login looks normal."""
    found = [*_describe("username", username), *_describe("password", password)]
    if not found and blanks.in_groups(password):
        found.append("The password is in groups with blanks between them: try it without the blanks.")
    international = _ascii_domain(username)
    if international != username:
        found.append(f"Some servers know the domain of a username only in its ASCII form: {international}.")
    return " ".join(found) or None


def about(name: str, value: str) -> str | None:
    """Suggests the same for one value, whose field is called `name`."""
    return " ".join(_describe(name, value)) or None


def _describe(name: str, value: str) -> list[str]:
    if blanks.has_outer(value):
        return [f"The {name} begins or ends with a blank: set it without."]
    if blanks.has_hidden(value):
        return [f"The {name} holds a no-break space or another invisible character: type it instead of pasting it."]
    return []


def _ascii_domain(username: str) -> str:
    """Converts the domain of the username to IDNA's ASCII form."""
    local, at, domain = username.rpartition("@")
    return username if domain.isascii() else f"{local}{at}{ascii_name(domain)}"
