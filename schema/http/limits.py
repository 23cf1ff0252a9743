"""Limits the cost of a document by validation rules that run before those of the specification.

Clients without credentials can send any document, so these rules must be cheap themselves: each fragment is evaluated
once, and counting stops at the limit.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    NameNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    ValidationContext,
    ValidationRule,
)

MAX_DOCUMENT_LENGTH = 50_000
"""Characters of a document: parsing them takes some 10 ms, and reporting their errors as long again."""
MAX_NAME_LENGTH = 200
MAX_DOCUMENT_TOKENS = 2_000
MAX_COMMENTS = 200
MAX_ALIASES = 30
MAX_DOCUMENT_DEPTH = 10
MAX_ROOT_MUTATIONS = 5
MAX_REPEATED = 30
MAX_DEFINITIONS = 100
MAX_COMPARISONS = 5_000
MAX_OBJECT_FIELDS = 100


class RootMutationsRule(ValidationRule):
    """Limits root mutations: each is a transaction, and many in one request would block the writer for others."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self._counts: dict[str, int] = {}

    def enter_operation_definition(self, node: OperationDefinitionNode, *_args: Any) -> None:
        count = self._count(node.selection_set)
        if node.operation is OperationType.MUTATION and count > MAX_ROOT_MUTATIONS:
            self.report_error(GraphQLError(f"{count} root mutations found. Allowed: {MAX_ROOT_MUTATIONS}", node))

    def _count(self, selections: SelectionSetNode) -> int:
        """The number of fields in the selections, including those in fragments."""
        return sum(self._count_one(selection) for selection in selections.selections)

    def _count_one(self, selection: SelectionNode) -> int:
        if isinstance(selection, FieldNode):
            return 1
        if isinstance(selection, InlineFragmentNode):
            return self._count(selection.selection_set)
        assert isinstance(selection, FragmentSpreadNode)
        name = selection.name.value
        if name not in self._counts:
            self._counts[name] = 0  # ends the recursion on a cycle, which another rule refuses
            fragment = self.context.get_fragment(name)
            self._counts[name] = self._count(fragment.selection_set) if fragment else 0
        return self._counts[name]


class AliasesRule(ValidationRule):
    """Limits aliases, which let a document select one field many times."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self._count = 0

    def enter_field(self, node: FieldNode, *_args: Any) -> None:
        self._count += node.alias is not None

    def leave_document(self, *_args: Any) -> None:
        if self._count > MAX_ALIASES:
            self.report_error(GraphQLError(f"{self._count} aliases found. Allowed: {MAX_ALIASES}"))


class SelectionsRule(ValidationRule):
    """Limits the depth of selections, and how often a name may occur in one selection set.

    Evaluates each fragment once, because nested spreads would take exponential time. A rule of the specification
    compares all selections of a name with each other, in quadratic time.
    """

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self._depths: dict[str, int] = {}

    def enter_selection_set(self, node: SelectionSetNode, *_args: Any) -> None:
        fields = [field for field in node.selections if isinstance(field, FieldNode)]
        counts = Counter((field.alias or field.name).value for field in fields)
        if max(counts.values(), default=0) > MAX_REPEATED:
            self.report_error(GraphQLError(f"A field is selected more than {MAX_REPEATED} times in one place.", node))

    def enter_operation_definition(self, node: OperationDefinitionNode, *_args: Any) -> None:
        if self._depth(node.selection_set) > MAX_DOCUMENT_DEPTH:
            self.report_error(GraphQLError(f"The operation is deeper than {MAX_DOCUMENT_DEPTH} levels.", node))

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
            self._depths[name] = 0  # ends the recursion on a cycle, which another rule refuses
            fragment = self.context.get_fragment(name)
            self._depths[name] = self._depth(fragment.selection_set) if fragment else 0
        return self._depths[name]


class DefinitionsRule(ValidationRule):
    """Limits definitions, because some rules visit, for each operation, all the fragments that it reaches."""

    def enter_document(self, node: DocumentNode, *_args: Any) -> None:
        count = len(node.definitions)
        if count > MAX_DEFINITIONS:
            self.report_error(GraphQLError(f"{count} operations and fragments found. Allowed: {MAX_DEFINITIONS}"))


class MergesRule(ValidationRule):
    """Limits the comparisons of selections with the same name, anywhere in the document.

    Validation compares them in pairs, and likewise their subselections (GraphQL, 5.3.2): 15 selections of a field, each
    with 28 of another, make 420 of the latter, which take 88,000 comparisons.
    """

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self._budget = MAX_COMPARISONS
        self._counted: set[frozenset[int]] = set()

    def enter_operation_definition(self, node: OperationDefinitionNode, *_args: Any) -> None:
        self._check(node)

    def enter_fragment_definition(self, node: FragmentDefinitionNode, *_args: Any) -> None:
        self._check(node)

    def _check(self, node: OperationDefinitionNode | FragmentDefinitionNode) -> None:
        if self._budget >= 0:
            self._count([node.selection_set])
            if self._budget < 0:
                message = f"Fields are selected together too often: more than {MAX_COMPARISONS} comparisons are needed."
                self.report_error(GraphQLError(message, node))

    def _count(self, sets: list[SelectionSetNode]) -> None:
        """Subtracts the cost of the merged selection sets from the budget, then that of their subselections by name."""
        key = frozenset(map(id, sets))
        if key in self._counted or self._budget < 0:
            return
        self._counted.add(key)
        below: defaultdict[str, list[SelectionSetNode]] = defaultdict(list)
        names: Counter[str] = Counter()
        for field in self._fields(sets):
            name = (field.alias or field.name).value
            self._budget -= names[name]
            names[name] += 1
            if field.selection_set:
                below[name].append(field.selection_set)
        for selected in below.values():
            self._count(selected)

    def _fields(self, sets: Iterable[SelectionSetNode]) -> Iterable[FieldNode]:
        """The fields of the sets, including those in fragments.

        Also subtracts the cost of fragments: the spreads of one set are compared in pairs, and each fragment once with
        the fields.
        """
        left, seen = [*sets], set[str]()
        while left and self._budget >= 0:
            spreads = 0
            for selection in left.pop().selections:
                if isinstance(selection, FieldNode):
                    yield selection
                elif isinstance(selection, InlineFragmentNode):
                    left.append(selection.selection_set)
                elif isinstance(selection, FragmentSpreadNode):
                    self._budget -= spreads
                    spreads += 1
                    if (name := selection.name.value) not in seen:
                        seen.add(name)
                        self._budget -= 1
                        left += [fragment.selection_set] if (fragment := self.context.get_fragment(name)) else []


class IntrospectionRule(ValidationRule):
    """Allows one introspection per document: thirty aliases of it would take half a second."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self._count = 0

    def enter_field(self, node: FieldNode, *_args: Any) -> None:
        self._count += node.name.value in ("__schema", "__type")
        parent = self.context.get_parent_type()
        if node.alias and parent and parent.name.startswith("__"):
            self.report_error(GraphQLError("Introspection fields can't have aliases.", node))

    def leave_document(self, *_args: Any) -> None:
        if self._count > 1:
            self.report_error(GraphQLError("A document can select `__schema` or `__type` only once."))


class NamesRule(ValidationRule):
    """Limits the length of names: an alias returns with every node of a list, and error messages quote names."""

    def enter_name(self, node: NameNode, *_args: Any) -> None:
        if len(node.value) > MAX_NAME_LENGTH:
            self.report_error(GraphQLError(f"A name has at most {MAX_NAME_LENGTH} characters.", node))


class LiteralsRule(ValidationRule):
    """Limits object literals: each error in a field prints the whole object. Variables have no such cost."""

    def enter_object_value(self, node: ObjectValueNode, *_args: Any) -> None:
        if len(node.fields) > MAX_OBJECT_FIELDS:
            message = f"An object literal has at most {MAX_OBJECT_FIELDS} fields: use a variable."
            self.report_error(GraphQLError(message, node))


LIMITS = (
    DefinitionsRule,
    AliasesRule,
    RootMutationsRule,
    SelectionsRule,
    MergesRule,
    IntrospectionRule,
    NamesRule,
    LiteralsRule,
)
