"""Decides which documents may run: all, or only those of the operator's list of trusted documents.

A client may send a document's SHA-256 instead of its text: as `documentId` (GraphQL over HTTP, appendix A), or as
`extensions.persistedQuery`, like Apollo's clients.
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
"""Values within the variables of a request: ten times as many as the largest input takes. Coercing one, and reporting
it if it is invalid, takes microseconds, which add up over hundreds of thousands of values."""
MAX_HASH = 100
"""Characters read of a client's document hash. A SHA-256 has fewer."""


class AnyDocument:
    """Allows every document. Stores none, so that a hash alone is refused."""

    def text_of(self, parameters: Mapping[str, Any]) -> Any:
        """The document that the client sent. Raises BadRequest if there is only a hash, or if it is too long."""
        query = _sent_document(parameters)
        if not query and _hash_of(parameters):
            raise BadRequest("PersistedQueryNotSupported")  # Apollo's clients then send the document
        return query


class TrustedDocuments(AnyDocument):
    """Allows the documents of a list, sent as text or as hash."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        """`texts` maps hashes to documents."""
        self._texts = texts

    def text_of(self, parameters: Mapping[str, Any]) -> Any:
        """The requested document. Raises BadRequest if it is not on the list."""
        query, named = _sent_document(parameters), _hash_of(parameters)
        if not query and named:
            if named not in self._texts:
                raise BadRequest("PersistedQueryNotFound")
            return self._texts[named]
        if isinstance(query, str) and _sha256(query) not in self._texts:
            raise BadRequest("This document is not on the server's list of trusted documents.")
        return query


def load_documents(path: Path | None) -> AnyDocument:
    """Loads the list: a JSON file of documents by their SHA-256 in hexadecimal. Without a file, allows any document.

    Raises StartError.
    """
    if path is None:
        return AnyDocument()
    try:
        texts = parse_json(path.read_bytes())
    except OSError as error:
        raise StartError(f"{SETTING}: {path} can't be read: {error.strerror}.") from None
    except ValueError:
        raise StartError(f"{SETTING}: {path} is not JSON.") from None
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise StartError(f"{SETTING}: {path} must hold a JSON object of documents by their SHA-256.")
    for name, text in texts.items():
        if name != _sha256(text):
            raise StartError(f"{SETTING}: in {path}, {name[:80]!a} is not the SHA-256 of its document.")
    return TrustedDocuments(texts)


def _sent_document(parameters: Mapping[str, Any]) -> Any:
    """The document's text, if sent. Checks its length before anything processes it. Raises BadRequest."""
    query = parameters.get("query")
    if isinstance(query, str) and len(query) > MAX_DOCUMENT_LENGTH:
        raise BadRequest(f"A document has at most {MAX_DOCUMENT_LENGTH:,} characters: send values as variables.")
    return query


def operation_name_of(parameters: Mapping[str, Any]) -> str | None:
    """The name of the operation to run; None if there is none. Raises BadRequest."""
    name = parameters.get("operationName")
    if not isinstance(name, str | None):
        raise BadRequest("`operationName` must be a string or null.")
    if name and len(name) > MAX_OPERATION_NAME:
        raise BadRequest(f"`operationName` has at most {MAX_OPERATION_NAME} characters.")
    return name or None


def check_variables(variables: Mapping[str, Any] | None) -> None:
    """Raises BadRequest if there are more values than any operation takes, before anything processes them."""
    left: list[Any] = [variables or {}]
    count = 0
    while left:
        container = left.pop()
        count += len(container)
        if count > MAX_VALUES:
            raise BadRequest(f"`variables` has at most {MAX_VALUES:,} values.")
        values = container.values() if isinstance(container, Mapping) else container
        left += [value for value in values if isinstance(value, dict | list)]


def _hash_of(parameters: Mapping[str, Any]) -> str | None:
    """The SHA-256 that the client sent instead of a document; None if it sent none."""
    named = parameters.get("documentId")
    extensions = parameters.get("extensions")
    if named is None and isinstance(extensions, dict) and isinstance(extensions.get("persistedQuery"), dict):
        named = extensions["persistedQuery"].get("sha256Hash")
    return named[:MAX_HASH].removeprefix("sha256:") if isinstance(named, str) else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
