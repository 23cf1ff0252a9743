"""Validates the text that a list is filtered or searched by."""

from models.errors import BadRequest
from models.fields import is_line

MAX_FILTER_LENGTH = 200


def text_filter(name: str, text: str | None) -> str | None:
    """Returns the text unchanged. Raises BadRequest if no stored text could contain it."""
    if text is not None and (len(text) > MAX_FILTER_LENGTH or not is_line(text)):
        raise BadRequest(
            f"`{name}` must be one line of at most {MAX_FILTER_LENGTH} characters, without control characters."
        )
    return text
