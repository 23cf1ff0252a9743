"""Parses and validates documents within the limits, and caches them. Knows no field."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from cachetools import LRUCache
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    get_operation_ast,
    validate,
)
from strawberry import Schema
from strawberry.extensions import SchemaExtension

from schema.http.limits import LIMITS, MAX_COMMENTS, MAX_DOCUMENT_TOKENS
from schema.http.observation import is_introspection, root_fields
from schema.plans.bypass import Bypass, compile_bypass
from schema.plans.plan import CannotCompile, PlanCache

MAX_ERRORS = 10
CACHED_DOCUMENTS = 500
CACHED_LENGTH = 10_000
CACHED_ANSWERS = 20
"""Results of introspection, each of some 100 kB."""

PARSE_OPTIONS: Any = {
    "max_lexical_tokens": MAX_DOCUMENT_TOKENS,
    "max_comments": MAX_COMMENTS,
    "allow_empty_selection_sets": False,
}


@dataclass(slots=True, weakref_slot=True)
class ParsedDocument:
    """A parsed document and its validation errors, or None before validation."""

    node: DocumentNode
    errors: list[GraphQLError] | None = None
    plans: PlanCache | None = None
    bypasses: dict[str | None, Bypass | None] = field(default_factory=dict)
    """By the name of the operation."""

    def bypass(self, schema: Schema, name: str | None) -> Bypass | None:
        """Returns None if the document is invalid or the operation has no bypass. Unknown names are not cached."""
        if name not in self.bypasses and self.errors == [] and (operation := get_operation_ast(self.node, name)):
            self.bypasses[name] = self._compile(schema, operation)
        return self.bypasses.get(name)

    def _compile(self, schema: Schema, operation: OperationDefinitionNode) -> Bypass | None:
        try:
            return compile_bypass(schema, self.node, operation, self.plans) if self.plans else None
        except CannotCompile:
            return None


class DocumentCache:
    """The cached documents of one schema."""

    def __init__(self, *, introspection: bool) -> None:
        self.introspection = introspection
        self.documents: LRUCache[str, ParsedDocument] = LRUCache(CACHED_DOCUMENTS)
        self.answers: LRUCache[tuple[str, str | None], ExecutionResult] = LRUCache(CACHED_ANSWERS)
        self._by_node: WeakValueDictionary[int, ParsedDocument] = WeakValueDictionary()

    def keep(self, text: str, document: ParsedDocument) -> None:
        """Caches the document unless it contains a string, which may be a password; variables are not part of it."""
        if len(text) > CACHED_LENGTH or '"' in text:
            return
        if "@" not in text:  # without strings, an @ begins a directive or is in a comment
            document.plans = PlanCache()
        self.documents[text] = self._by_node[id(document.node)] = document

    def plans(self, node: DocumentNode) -> PlanCache | None:
        """Returns the plans of a cached document without directives."""
        document = self._by_node.get(id(node))
        return document.plans if document else None

    def bypass(self, schema: Schema, text: str, name: str | None) -> Bypass | None:
        """Returns the bypass of an operation whose document is cached."""
        document = self.documents.get(text)
        return document.bypass(schema, name) if document else None

    def extension(self) -> type["Documents"]:
        """Returns the extension for the schema."""
        return type("Documents", (Documents,), {"cache": self})


class Documents(SchemaExtension):
    """Parses and validates each document once, and answers an introspection once."""

    cache: DocumentCache

    def on_parse(self) -> Iterator[None]:
        context = self.execution_context
        text = context.query or ""
        self._document = self.cache.documents.get(text)
        context.graphql_document = self._document.node if self._document else None
        context.parse_options = PARSE_OPTIONS
        yield
        if self._document is None and context.graphql_document is not None:
            self._document = ParsedDocument(context.graphql_document)
            self.cache.keep(text, self._document)

    def on_validate(self) -> Iterator[None]:
        document = self._document
        assert document is not None
        if document.errors is None:
            document.errors = self._validate(document.node)
        self.execution_context.pre_execution_errors = list(document.errors) or self._check_operation(document.node)
        yield

    def on_execute(self) -> Iterator[None]:
        """Caches the results of introspection, which are the same for every caller if there are no variables."""
        context = self.execution_context
        key = (context.query or "", context._provided_operation_name)
        if context.variables or not is_introspection(root_fields(context)):
            yield
            return
        context.result = self.cache.answers.get(key)
        yield
        if isinstance(context.result, ExecutionResult) and not context.result.errors:
            self.cache.answers[key] = context.result

    def _validate(self, node: DocumentNode) -> list[GraphQLError]:
        schema = self.execution_context.schema._schema
        if errors := validate(schema, node, LIMITS, max_errors=MAX_ERRORS):
            return errors
        rules = self.execution_context.validation_rules
        if not self.cache.introspection:
            rules = (*rules, NoSchemaIntrospectionCustomRule)
        return validate(schema, node, rules, max_errors=MAX_ERRORS)

    def _check_operation(self, node: DocumentNode) -> list[GraphQLError]:
        """Refuses several operations if the request names none (GraphQL, 6.1)."""
        operations = [found for found in node.definitions if isinstance(found, OperationDefinitionNode)]
        if len(operations) < 2 or self.execution_context._provided_operation_name:
            return []
        return [GraphQLError("Must provide operation name if query contains multiple operations.")]
