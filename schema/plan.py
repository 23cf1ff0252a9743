"""Runs plain operations by plans, which are made once (GraphQL, 6). Knows no field by name.

An operation is plain where it is a query or a mutation without directives, and its fields below the root do no more
than read an attribute. Its plan does what graphql-core would do, less what is known beforehand. Where anything turns
out not to be plain, such as an error or an odd value, graphql-core takes over, and no resolver is asked a second time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import strawberry
from cachetools import LRUCache
from graphql import (
    DocumentNode,
    ExecutionResult,
    Executor,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLResolveInfo,
    OperationDefinitionNode,
    default_field_resolver,
    default_type_resolver,
    execute,
    get_operation_ast,
)
from graphql.execution.collect_fields import FieldDetailsList, FragmentDetails, collect_fields
from graphql.execution.values import VariableValues
from graphql.pyutils import Path
from strawberry.execution import optimized_is_awaitable
from strawberry.types.graphql import OperationType
from strawberry.utils.await_maybe import await_maybe

from schema.coercion import Arguments, Variables, arguments_of
from schema.completion import TYPENAME, Complete, Completion
from schema.extensions import CACHED_DOCUMENTS, Documents
from schema.observation import name_of
from schema.plain import NotPlain

Info = GraphQLResolveInfo[Any]

NO_VARIABLES = VariableValues({}, {})


@dataclass(frozen=True, slots=True)
class _RootField:
    """A field of the operation. `info` is what resolvers are told, less what belongs to one request."""

    key: str
    info: Info
    arguments: Arguments
    resolve: Callable[..., Awaitable[Any]]
    complete: Complete

    def work(self, context: object, variables: VariableValues) -> Awaitable[Any]:
        info = self.info._replace(context=context, variable_values=variables.coerced)  # type: ignore[arg-type]
        return self.resolve(None, info, **self.arguments(variables))


@dataclass(frozen=True, slots=True)
class Plan:
    """How a plain operation is run. `name` is what it is told as to the observer."""

    name: str
    kind: OperationType
    schema: strawberry.Schema
    document: DocumentNode
    operation: OperationDefinitionNode
    variables: Variables
    fields: tuple[_RootField, ...]
    data: dict[str, Any]
    """The answer, before any field has its value."""

    def coerced(self, sent: Mapping[str, Any]) -> VariableValues | None:
        """The values of the variables; None where one is not plain."""
        try:
            return self.variables.coerced(sent)
        except Exception:  # whatever it is, graphql-core meets it too, and says so
            return None

    async def run(self, context: object, sent: dict[str, Any], variables: VariableValues) -> ExecutionResult:
        """What graphql-core would answer."""
        outcomes: dict[str, Any] = {}
        try:
            if self.kind is OperationType.QUERY and len(self.fields) > 1:
                return ExecutionResult(await self._side_by_side(context, variables, outcomes))
            return ExecutionResult(await self._in_turn(context, variables, outcomes))
        except Exception:  # whatever it is, graphql-core meets it too, and says so
            return await self._handed_over(context, sent, outcomes)

    async def _in_turn(self, context: object, variables: VariableValues, outcomes: dict[str, Any]) -> dict[str, Any]:
        """The next one begins when the answer of the one before is known (GraphQL, 6.2.2)."""
        data = self.data.copy()
        for field in self.fields:
            work = field.work(context, variables)
            try:
                outcomes[field.key] = found = await work
            except Exception as error:
                outcomes[field.key] = error
                raise
            data[field.key] = field.complete(found)
        return data

    async def _side_by_side(
        self, context: object, variables: VariableValues, outcomes: dict[str, Any]
    ) -> dict[str, Any]:
        data = self.data.copy()
        for field in self.fields:
            outcomes[field.key] = asyncio.ensure_future(field.work(context, variables))
        for field, found in zip(self.fields, await asyncio.gather(*outcomes.values()), strict=True):
            data[field.key] = field.complete(found)
        return data

    async def _handed_over(self, context: object, sent: dict[str, Any], outcomes: dict[str, Any]) -> ExecutionResult:
        """What graphql-core makes of what the resolvers did; it calls those that were not called."""

        def again(resolve: Callable[..., Any], source: Any, info: Info, **arguments: Any) -> Any:
            if info.path.prev is None and info.path.key in outcomes:
                return _again(outcomes[info.path.key])
            return resolve(source, info, **arguments)

        return await await_maybe(
            execute(
                self.schema._schema,
                self.document,
                context_value=context,
                variable_values=sent,
                operation_name=self.operation.name.value if self.operation.name else None,
                middleware=[again],
                executor_class=self.schema.execution_context_class,
                is_awaitable=optimized_is_awaitable,  # type: ignore[arg-type]
            )
        )


class Plans:
    """The plans of a schema's operations. One is made when its document comes for the second time."""

    def __init__(self, schema: strawberry.Schema, documents: type[Documents]) -> None:
        self._schema = schema
        self._documents = documents
        self._plans: LRUCache[tuple[str, str | None], Plan | None] = LRUCache(CACHED_DOCUMENTS)

    def find(self, text: str, operation_name: str | None) -> Plan | None:
        """The plan of an operation; None where it is not plain, or its document is not known to be valid."""
        asked = (text, operation_name)
        if asked in self._plans:
            return self._plans[asked]
        document = self._documents.known(text)
        operation = get_operation_ast(document, operation_name) if document else None
        if document is None or operation is None:
            return None
        plan = self._plans[asked] = self._made(text, document, operation)
        return plan

    def _made(self, text: str, document: DocumentNode, operation: OperationDefinitionNode) -> Plan | None:
        if "@" in text:
            return None  # there are no strings in it: that is a directive, or a comment
        try:
            return _planned(self._schema, document, operation)
        except NotPlain:
            return None


async def _again(outcome: Any) -> Any:
    if isinstance(outcome, Exception):
        raise outcome
    return await outcome if isinstance(outcome, asyncio.Future) else outcome


def _planned(schema: strawberry.Schema, document: DocumentNode, operation: OperationDefinitionNode) -> Plan:
    kind = OperationType(operation.operation.value)
    root = schema._schema.get_root_type(operation.operation)
    if kind is OperationType.SUBSCRIPTION or root is None:
        raise NotPlain
    variables = Variables(schema._schema, operation)
    executor = _executor(schema, document, operation)
    groups = collect_fields(schema._schema, executor.fragments, NO_VARIABLES, root, operation).grouped_field_set
    fields = _root_fields(executor, root, groups)
    if not fields:
        raise NotPlain
    data = {key: root.name if details[0].node.name.value == TYPENAME else None for key, details in groups.items()}
    return Plan(name_of(document, operation), kind, schema, document, operation, variables, fields, data)


def _executor(schema: strawberry.Schema, document: DocumentNode, operation: OperationDefinitionNode) -> Executor[Any]:
    """What would execute the operation, for what it knows of it."""
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    details = {name: FragmentDetails(fragment) for name, fragment in fragments.items()}
    return schema.execution_context_class(
        schema=schema._schema,
        fragment_definitions=fragments,
        fragments=details,
        root_value=None,
        context_value=None,
        operation=operation,
        variable_values=NO_VARIABLES,
        field_resolver=default_field_resolver,
        type_resolver=default_type_resolver,
        subscribe_field_resolver=default_field_resolver,
        is_awaitable=optimized_is_awaitable,  # type: ignore[arg-type]
    )


def _root_fields(
    executor: Executor[Any], root: GraphQLObjectType, groups: Mapping[str, FieldDetailsList]
) -> tuple[_RootField, ...]:
    completion = Completion(executor)
    found: list[tuple[str, GraphQLField, FieldDetailsList, str]] = []
    for key, details in groups.items():
        name = details[0].node.name.value
        if name == TYPENAME:
            continue
        if name not in root.fields:
            raise NotPlain  # introspection
        found.append((key, root.fields[name], details, completion.add(root.fields[name].type, details)))
    functions = completion.functions()
    return tuple(
        _RootField(
            key,
            executor.build_resolve_info(field, [one.node for one in details], root, Path(None, key, root.name)),
            arguments_of(field, details[0].node),
            _resolver(field),
            functions[function],
        )
        for key, field, details, function in found
    )


def _resolver(field: GraphQLField) -> Callable[..., Awaitable[Any]]:
    if field.resolve is None or not asyncio.iscoroutinefunction(field.resolve):
        raise NotPlain
    return field.resolve
