"""Reports each GraphQL operation to the observer, including invalid documents and introspection.

Resolvers report themselves; this module covers the rest of an operation, and operations that reach no resolver.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    get_operation_ast,
)
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import SchemaExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.execution import ExecutionContext, PreExecutionError
from strawberry.types.graphql import OperationType

from models.observer import Observer, Operation
from resolvers.context import Context

INVALID = "invalid"
INTROSPECTION = "introspection"
MAX_NAMED = 3
"""The most root fields in an operation's name."""

_NOT_RUN = (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError)


class ObservationExtension(SchemaExtension):
    """Observes an operation from the arrival of its document to its result."""

    _operation: Operation

    def on_operation(self) -> Iterator[None]:
        context: Context = self.execution_context.context.context
        self._operation, began = context.observer.executing(), time.perf_counter()
        try:
            yield
            refused, fields = self._is_refused(), root_fields(self.execution_context)
            self._operation.end(INVALID if refused else self._name(fields), failed=refused)
            if refused or is_introspection(fields):
                name = INVALID if refused else INTROSPECTION
                context.observer.executed(name, context.api, self._outcome(), time.perf_counter() - began)
        except _NOT_RUN:
            raise  # the endpoint refuses the request, or runs it again as a subscription
        except BaseException:
            self._operation.end(self._name(root_fields(self.execution_context)), failed=True)
            raise
        finally:
            self._operation.leave()

    def on_execute(self) -> Iterator[None]:
        yield
        if self.execution_context.operation_type is OperationType.SUBSCRIPTION:
            # A subscription may stay open for days, so only its set-up is traced.
            self._operation.end(self._name(root_fields(self.execution_context)), failed=False)

    def _is_refused(self) -> bool:
        """Whether no resolver was reached, because the document or a variable is invalid."""
        result, errors = self.execution_context.result, self.execution_context.pre_execution_errors
        if not errors or result is None or isinstance(result, PreExecutionError):
            return bool(errors)
        subscription = self.execution_context.operation_type is OperationType.SUBSCRIPTION
        return not subscription and result.data is None and all(error.path is None for error in errors)

    def _outcome(self) -> str:
        errors = self.execution_context.pre_execution_errors
        return str((errors[0].extensions or {}).get("code")) if errors else "ok"

    def _name(self, fields: set[str]) -> str:
        return name_of(self.execution_context.operation_type.value, fields) if fields else INVALID


def root_fields(context: ExecutionContext) -> set[str]:
    """The names of the root fields of the operation; empty if it is not known."""
    document = context.graphql_document
    operation = get_operation_ast(document, context.operation_name) if document else None
    return fields_of(document, operation) if document and operation else set()


def is_introspection(fields: set[str]) -> bool:
    """Whether these root fields are introspection fields only."""
    return bool(fields) and all(name.startswith("__") for name in fields)


@contextmanager
def observe(observer: Observer, name: str) -> Iterator[None]:
    """Reports an operation that bypasses strawberry, and so `ObservationExtension`."""
    operation, failed = observer.executing(), True
    try:
        yield
        failed = False
    finally:
        operation.end(name, failed=failed)
        operation.leave()


def name_of(kind: str, fields: set[str]) -> str:
    """The kind and the root fields, which are the schema's names. The operation's own name is the client's choice."""
    return f"{kind} {' '.join(sorted(fields)) if len(fields) <= MAX_NAMED else 'several'}"


def fields_of(document: DocumentNode, operation: OperationDefinitionNode) -> set[str]:
    """The names of the root fields of an operation, including those in fragments."""
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    names: set[str] = set()
    seen: set[str] = set()
    left = [*operation.selection_set.selections]
    while left:
        selection = left.pop()
        if isinstance(selection, FieldNode):
            names.add(selection.name.value)
        elif isinstance(selection, InlineFragmentNode):
            left += selection.selection_set.selections
        elif isinstance(selection, FragmentSpreadNode) and (name := selection.name.value) not in seen:
            seen.add(name)
            if name in fragments:
                left += fragments[name].selection_set.selections
    return names
