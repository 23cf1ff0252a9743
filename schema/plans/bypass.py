"""Runs an operation with one root field, without the steps that strawberry and graphql-core take for each request.

The selected fields and the resolver's `info` are computed once per document. An object whose selected fields are all
plain is completed here. graphql-core's executor completes every other result, and reports every error.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import strawberry
from graphql import (
    DocumentNode,
    ExecutionResult,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLField,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    OperationDefinitionNode,
    default_field_resolver,
    default_type_resolver,
)
from graphql.execution.collect_fields import FieldDetailsList, FragmentDetails, collect_fields
from graphql.execution.values import VariableValues, get_variable_values
from graphql.pyutils import Path
from strawberry.execution import optimized_is_awaitable
from strawberry.types.graphql import OperationType

from schema.http.observation import fields_of, name_of
from schema.plans.executor import Executor
from schema.plans.plan import CannotCompile, PlanCache
from schema.plans.resolver import NO_VARIABLES, Resolve, compile_resolver

_Info = GraphQLResolveInfo[Any]


@dataclass(frozen=True, slots=True)
class Bypass:
    """One operation, ready to be run.

    `name` is reported to the observer. `executor` and `info` hold everything but the context and the variables of a
    request. `complete` returns the data of the field, or raises; it always raises if a selected field is not plain.
    """

    kind: OperationType
    name: str
    executor: Executor
    field: GraphQLField
    resolve: Resolve
    details: FieldDetailsList
    key: str
    info: _Info
    complete: Callable[[Any], dict[str, Any]]

    def variables(self, sent: dict[str, Any]) -> VariableValues | None:
        """The coerced variables; None if one is invalid."""
        declared = self.executor.operation.variable_definitions or ()
        found = get_variable_values(self.executor.schema, declared, sent)
        return found if isinstance(found, VariableValues) else None

    async def run(self, context: object, variables: VariableValues) -> ExecutionResult:
        """Returns what graphql-core would. Errors are in the result."""
        info = self.info._replace(context=context, variable_values=variables.coerced)  # type: ignore[arg-type]
        try:
            outcome = await self.resolve(info, variables)
        except Exception as error:
            outcome = error
        try:
            return ExecutionResult({self.key: self.complete(outcome)})
        except Exception:  # graphql-core meets the same problem, and reports it
            return await self._complete_value(info, variables, outcome)

    async def _complete_value(self, info: _Info, variables: VariableValues, outcome: object) -> ExecutionResult:
        """Completes a value, or reports an error, by graphql-core."""
        executor = self.executor.build_per_event_executor(None)
        executor.context_value, executor.variable_values = info.context, variables
        executor._relevant_sub_fields = self.executor._relevant_sub_fields  # every request selects by the same lists
        data: dict[str, Any] | None = None
        try:
            completed = executor.complete_awaitable_value(
                self.field.type, self.details, info, info.path, _as_awaitable(outcome), None
            )
            data = {self.key: await completed}
        except GraphQLError as error:
            executor.collected_errors.add(error, None)
        return ExecutionResult(data, executor.collected_errors.errors or None)


def compile_bypass(
    schema: strawberry.Schema, document: DocumentNode, operation: OperationDefinitionNode, plans: PlanCache
) -> Bypass:
    """Prepares an operation of a valid document without directives.

    Raises CannotCompile for a subscription, for introspection, and for more than one root field.
    """
    kind, root = OperationType(operation.operation.value), schema._schema.get_root_type(operation.operation)
    if kind is OperationType.SUBSCRIPTION or root is None:
        raise CannotCompile
    executor = _executor(schema, document, operation, plans)
    fields = collect_fields(schema._schema, executor.fragments, NO_VARIABLES, root, operation).grouped_field_set
    (key, details), *more = fields.items()
    field = root.fields.get(details[0].node.name.value)
    if more or field is None:
        raise CannotCompile
    path, nodes = Path(None, key, root.name), [one.node for one in details]
    info = executor.build_resolve_info(field, nodes, root, path)
    name = name_of(kind.value, fields_of(document, operation))
    resolve, complete = compile_resolver(schema, field, nodes[0]), _completer(executor, field, details)
    return Bypass(kind, name, executor, field, resolve, details, key, info, complete)


def _completer(executor: Executor, field: GraphQLField, details: FieldDetailsList) -> Callable[[Any], dict[str, Any]]:
    kind = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
    if not isinstance(kind, GraphQLObjectType) or kind.is_type_of:
        return _not_plain
    plan = executor.find_plan(kind, details)
    return plan.complete if plan and not plan.left else _not_plain


def _executor(
    schema: strawberry.Schema, document: DocumentNode, operation: OperationDefinitionNode, plans: PlanCache
) -> Executor:
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    executor: Any = schema.execution_context_class(
        schema=schema._schema,
        fragment_definitions=fragments,
        fragments={name: FragmentDetails(fragment) for name, fragment in fragments.items()},
        root_value=None,
        context_value=None,
        operation=operation,
        variable_values=NO_VARIABLES,
        field_resolver=default_field_resolver,
        type_resolver=default_type_resolver,
        subscribe_field_resolver=default_field_resolver,
        is_awaitable=optimized_is_awaitable,  # type: ignore[arg-type]
    )
    executor.plans = plans
    return executor  # type: ignore[no-any-return]


def _not_plain(_value: object) -> dict[str, Any]:
    raise TypeError


async def _as_awaitable(outcome: object) -> object:
    return outcome
