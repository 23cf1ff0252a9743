"""Which documents are run: limits, and a cache of those that were parsed and validated. Knows no field."""

from collections import Counter
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
    ValidationContext,
    ValidationRule,
    validate,
)
from strawberry.extensions import SchemaExtension

MAX_TOKENS = 2_000
MAX_COMMENTS = 200
MAX_ALIASES = 30
MAX_DEPTH = 10
MAX_ROOT_MUTATIONS = 5
MAX_REPEATED = 30
MAX_DEFINITIONS = 100
MAX_ERRORS = 10
CACHED_DOCUMENTS = 500
CACHED_LENGTH = 10_000

PARSE_OPTIONS: Any = {
    "max_lexical_tokens": MAX_TOKENS,
    "max_comments": MAX_COMMENTS,
    "allow_empty_selection_sets": False,
}


class RootMutationsRule(ValidationRule):
    """A request is one transaction a root mutation: many of them would keep the writer from everybody else."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self._counts: dict[str, int] = {}

    def enter_operation_definition(self, node: OperationDefinitionNode, *_args: Any) -> None:
        count = self._count(node.selection_set)
        if node.operation is OperationType.MUTATION and count > MAX_ROOT_MUTATIONS:
            self.report_error(GraphQLError(f"{count} root mutations found. Allowed: {MAX_ROOT_MUTATIONS}", node))

    def _count(self, selections: SelectionSetNode) -> int:
        """The fields of the selections, those in fragments included."""
        return sum(self._count_one(selection) for selection in selections.selections)

    def _count_one(self, selection: SelectionNode) -> int:
        if isinstance(selection, FieldNode):
            return 1
        if isinstance(selection, InlineFragmentNode):
            return self._count(selection.selection_set)
        assert isinstance(selection, FragmentSpreadNode)
        name = selection.name.value
        if name not in self._counts:
            self._counts[name] = 0  # ends a circle, which another rule refuses
            fragment = self.context.get_fragment(name)
            self._counts[name] = self._count(fragment.selection_set) if fragment else 0
        return self._counts[name]


class AliasesRule(ValidationRule):
    """An alias lets one field be asked for again and again."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self._count = 0

    def enter_field(self, node: FieldNode, *_args: Any) -> None:
        self._count += node.alias is not None

    def leave_document(self, *_args: Any) -> None:
        if self._count > MAX_ALIASES:
            self.report_error(GraphQLError(f"{self._count} aliases found. Allowed: {MAX_ALIASES}"))


class SelectionsRule(ValidationRule):
    """How deep the selections go, and how often one name may stand in a selection set.

    Whatever comes of a fragment is found once: spread again and again, it would take for ever. Selections of one name
    are compared with each other by a rule of the specification, in the square of their number.
    """

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self._depths: dict[str, int] = {}

    def enter_selection_set(self, node: SelectionSetNode, *_args: Any) -> None:
        fields = [found for found in node.selections if isinstance(found, FieldNode)]
        often = Counter((found.alias or found.name).value for found in fields)
        if max(often.values(), default=0) > MAX_REPEATED:
            self.report_error(GraphQLError(f"A field is selected more than {MAX_REPEATED} times in one place.", node))

    def enter_operation_definition(self, node: OperationDefinitionNode, *_args: Any) -> None:
        if self._depth(node.selection_set) > MAX_DEPTH:
            self.report_error(GraphQLError(f"The operation is deeper than {MAX_DEPTH} levels.", node))

    def _depth(self, selections: SelectionSetNode) -> int:
        return max((self._depth_of(selection) for selection in selections.selections), default=0)

    def _depth_of(self, selection: SelectionNode) -> int:
        if isinstance(selection, FieldNode):
            below = self._depth(selection.selection_set) if selection.selection_set else 0
            return 0 if selection.name.value.startswith("__") else 1 + below
        if isinstance(selection, InlineFragmentNode):
            return self._depth(selection.selection_set)
        assert isinstance(selection, FragmentSpreadNode)
        return self._depth_of_fragment(selection.name.value)

    def _depth_of_fragment(self, name: str) -> int:
        if name not in self._depths:
            self._depths[name] = 0  # ends a circle, which another rule refuses
            fragment = self.context.get_fragment(name)
            self._depths[name] = self._depth(fragment.selection_set) if fragment else 0
        return self._depths[name]


class DefinitionsRule(ValidationRule):
    """Every rule looks at every operation with all the fragments that it reaches."""

    def enter_document(self, node: DocumentNode, *_args: Any) -> None:
        count = len(node.definitions)
        if count > MAX_DEFINITIONS:
            self.report_error(GraphQLError(f"{count} operations and fragments found. Allowed: {MAX_DEFINITIONS}"))


LIMITS = (DefinitionsRule, AliasesRule, RootMutationsRule, SelectionsRule)


@dataclass(slots=True)
class Document:
    """A document that was parsed, and what is wrong with it; None: not yet validated."""

    node: DocumentNode
    errors: list[GraphQLError] | None = None


class Documents(SchemaExtension):
    """Parses and validates each document once."""

    introspection = True
    _cache: LRUCache[str, Document] = LRUCache(CACHED_DOCUMENTS)

    @classmethod
    def known(cls, text: str) -> DocumentNode | None:
        """A document of the cache that is valid."""
        document = cls._cache.get(text)
        return document.node if document and document.errors == [] else None

    def on_parse(self) -> Iterator[None]:
        context = self.execution_context
        text = context.query or ""
        self._document = self._cache.get(text)
        context.graphql_document = self._document.node if self._document else None
        context.parse_options = PARSE_OPTIONS
        yield
        if self._document is None and context.graphql_document is not None:
            self._document = Document(context.graphql_document)
            # A literal may be a password: only what leaves its values to variables is kept.
            if len(text) <= CACHED_LENGTH and '"' not in text:
                self._cache[text] = self._document

    def on_validate(self) -> Iterator[None]:
        document = self._document
        assert document is not None
        if document.errors is None:
            document.errors = self._validate(document.node)
        self.execution_context.pre_execution_errors = list(document.errors) or self._ambiguous(document.node)
        yield

    def _validate(self, node: DocumentNode) -> list[GraphQLError]:
        schema = self.execution_context.schema._schema
        if refused := validate(schema, node, LIMITS, max_errors=MAX_ERRORS):
            return refused
        rules = self.execution_context.validation_rules
        if not self.introspection:
            rules = (*rules, NoSchemaIntrospectionCustomRule)
        return validate(schema, node, rules, max_errors=MAX_ERRORS)

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
