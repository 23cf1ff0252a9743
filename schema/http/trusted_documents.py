"""Which documents may be run: all of them, or those of a list that the operator trusts. Knows no schema.

A document may be named by its SHA-256 instead of being sent: `documentId` (GraphQL over HTTP, appendix A), or
`extensions.persistedQuery` as Apollo's clients say it.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.body import parse_json
from models.errors import BadRequest, StartError
from schema.http.limits import MAX_DOCUMENT_LENGTH

SETTING = "EMAIL_INBOX_TRUSTED_DOCUMENTS"
MAX_OPERATION_NAME = 200
MAX_VALUES = 2_000
"""Values within the variables of a request: ten times as many as the largest input takes. To coerce one, and to print
it where it is wrong, takes microseconds, which anybody could ask for by the hundred thousand."""
MAX_HASH = 100
"""Characters that are looked at of the SHA-256 that names a document: more than it has."""


class AnyDocument:
    """Runs whatever is sent. Nothing is kept, so that nothing can be named."""

    def text_of(self, asked: Mapping[str, Any]) -> Any:
        """The document that is asked for, as it was sent. Raises BadRequest where it is but named, or too long."""
        query = _sent(asked)
        if not query and _hash_of(asked):
            raise BadRequest("PersistedQueryNotSupported")  # Apollo's clients then send the document
        return query


class TrustedDocuments(AnyDocument):
    """Runs the documents of a list, whether they are sent or named."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        """`texts` by their hash."""
        self._texts = texts

    def text_of(self, asked: Mapping[str, Any]) -> Any:
        """The document that is asked for. Raises BadRequest where it is not on the list."""
        query, named = _sent(asked), _hash_of(asked)
        if not query and named:
            if named not in self._texts:
                raise BadRequest("PersistedQueryNotFound")
            return self._texts[named]
        if isinstance(query, str) and _sha256(query) not in self._texts:
            raise BadRequest("This document is not on the server's list of trusted documents.")
        return query


def load_documents(path: Path | None) -> AnyDocument:
    """The list in a file, a JSON object of documents by their SHA-256 in hexadecimal; any document where there is none.

    Raises StartError.
    """
    if path is None:
        return AnyDocument()
    try:
        found = parse_json(path.read_bytes())
    except OSError as error:
        raise StartError(f"{SETTING}: {path} can't be read: {error.strerror}.") from None
    except ValueError:
        raise StartError(f"{SETTING}: {path} is not JSON.") from None
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise StartError(f"{SETTING}: {path} must hold a JSON object of documents by their SHA-256.")
    for name, text in found.items():
        if name != _sha256(text):
            raise StartError(f"{SETTING}: in {path}, {name[:80]!a} is not the SHA-256 of its document.")
    return TrustedDocuments(found)


def _sent(asked: Mapping[str, Any]) -> Any:
    """The document that was sent. Its length is judged before anything is made of it."""
    query = asked.get("query")
    if isinstance(query, str) and len(query) > MAX_DOCUMENT_LENGTH:
        raise BadRequest(f"A document has at most {MAX_DOCUMENT_LENGTH:,} characters: send values as variables.")
    return query


def operation_name_of(asked: Mapping[str, Any]) -> str | None:
    """The name of the operation that is to be run; None where none is given. Raises BadRequest."""
    name = asked.get("operationName")
    if not isinstance(name, str | None):
        raise BadRequest("`operationName` must be a string or null.")
    if name and len(name) > MAX_OPERATION_NAME:
        raise BadRequest(f"`operationName` has at most {MAX_OPERATION_NAME} characters.")
    return name or None


def check_variables(variables: Mapping[str, Any] | None) -> None:
    """Raises BadRequest where more values are sent than any operation takes, before anything is made of them."""
    left: list[Any] = [variables or {}]
    count = 0
    while left:
        found = left.pop()
        count += len(found)
        if count > MAX_VALUES:
            raise BadRequest(f"`variables` has at most {MAX_VALUES:,} values.")
        values = found.values() if isinstance(found, Mapping) else found
        left += [value for value in values if isinstance(value, dict | list)]


def _hash_of(asked: Mapping[str, Any]) -> str | None:
    """The SHA-256 that names a document; None where none does."""
    named = asked.get("documentId")
    extensions = asked.get("extensions")
    if named is None and isinstance(extensions, dict) and isinstance(extensions.get("persistedQuery"), dict):
        named = extensions["persistedQuery"].get("sha256Hash")
    return named[:MAX_HASH].removeprefix("sha256:") if isinstance(named, str) else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
