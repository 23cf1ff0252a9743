"""Which documents are run: limits, and a cache of those that were parsed and validated. Knows no field."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cachetools import LRUCache
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    ValidationRule,
)
from strawberry.extensions import SchemaExtension
from strawberry.extensions.max_aliases import create_validator as aliases
from strawberry.extensions.query_depth_limiter import create_validator as depth
from strawberry.schema.schema import validate_document

MAX_TOKENS = 2_000
MAX_COMMENTS = 200
MAX_ALIASES = 30
MAX_DEPTH = 10
MAX_ROOT_MUTATIONS = 5
CACHED_DOCUMENTS = 500
CACHED_LENGTH = 10_000

PARSE_OPTIONS: Any = {
    "max_lexical_tokens": MAX_TOKENS,
    "max_comments": MAX_COMMENTS,
    "allow_empty_selection_sets": False,
}


class RootMutationsRule(ValidationRule):
    """A request is one transaction a root mutation: many of them would keep the writer from everybody else."""

    def enter_operation_definition(self, node: OperationDefinitionNode, *_args: Any) -> None:
        count = self._count(node.selection_set, frozenset())
        if node.operation is OperationType.MUTATION and count > MAX_ROOT_MUTATIONS:
            self.report_error(GraphQLError(f"{count} root mutations found. Allowed: {MAX_ROOT_MUTATIONS}", node))

    def _count(self, selections: SelectionSetNode, within: frozenset[str]) -> int:
        """The fields of the selections, those in fragments included; `within` ends a circle."""
        return sum(self._count_one(selection, within) for selection in selections.selections)

    def _count_one(self, selection: SelectionNode, within: frozenset[str]) -> int:
        if isinstance(selection, FieldNode):
            return 1
        if isinstance(selection, InlineFragmentNode):
            return self._count(selection.selection_set, within)
        assert isinstance(selection, FragmentSpreadNode)
        name = selection.name.value
        fragment = None if name in within else self.context.get_fragment(name)
        return self._count(fragment.selection_set, within | {name}) if fragment else 0


LIMITS = (aliases(MAX_ALIASES), depth(MAX_DEPTH, None), RootMutationsRule)


@dataclass(slots=True)
class Document:
    """A document that was parsed, and what is wrong with it; None: not yet validated."""

    node: DocumentNode
    errors: list[GraphQLError] | None = None


class Documents(SchemaExtension):
    """Parses and validates each document once."""

    introspection = True
    _cache: LRUCache[str, Document] = LRUCache(CACHED_DOCUMENTS)

    def on_parse(self) -> Iterator[None]:
        context = self.execution_context
        text = context.query or ""
        self._document = self._cache.get(text)
        context.graphql_document = self._document.node if self._document else None
        context.parse_options = PARSE_OPTIONS
        yield
        if self._document is None and context.graphql_document is not None:
            self._document = Document(context.graphql_document)
            if len(text) <= CACHED_LENGTH:
                self._cache[text] = self._document

    def on_validate(self) -> Iterator[None]:
        document = self._document
        assert document is not None
        if document.errors is None:
            document.errors = self._validate(document.node)
        self.execution_context.pre_execution_errors = list(document.errors) or self._ambiguous(document.node)
        yield

    def _validate(self, node: DocumentNode) -> list[GraphQLError]:
        rules = (*self.execution_context.validation_rules, *LIMITS)
        if not self.introspection:
            rules = (*rules, NoSchemaIntrospectionCustomRule)
        return validate_document(self.execution_context.schema._schema, node, rules)

    def _ambiguous(self, node: DocumentNode) -> list[GraphQLError]:
        """Of several operations, one must be named (GraphQL, 6.1)."""
        operations = [found for found in node.definitions if isinstance(found, OperationDefinitionNode)]
        if len(operations) < 2 or self.execution_context._provided_operation_name:
            return []
        return [GraphQLError("Must provide operation name if query contains multiple operations.")]


class DocumentsWithoutIntrospection(Documents):
    """The same, where the schema is nobody's business."""

    introspection = False
    _cache: LRUCache[str, Document] = LRUCache(CACHED_DOCUMENTS)
