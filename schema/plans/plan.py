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
from graphql import DocumentNode, ExecutionResult, GraphQLResolveInfo, OperationDefinitionNode, execute
from graphql.execution.values import VariableValues
from strawberry.execution import optimized_is_awaitable
from strawberry.types.graphql import OperationType
from strawberry.utils.await_maybe import await_maybe

from schema.plans.coercion import Arguments, Variables
from schema.plans.completion import Complete

Info = GraphQLResolveInfo[Any]
Outcomes = dict[str, Any]
"""What came of resolvers by the keys of their fields: values, errors, or tasks."""


@dataclass(frozen=True, slots=True)
class RootField:
    """A field of the operation. `info` is what its resolver is told, less what belongs to one request."""

    key: str
    info: Info
    arguments: Arguments
    resolve: Callable[[Info, dict[str, Any]], Awaitable[Any]]
    complete: Complete

    def work(self, context: object, variables: VariableValues) -> Awaitable[Any]:
        info = self.info._replace(context=context, variable_values=variables.coerced)  # type: ignore[arg-type]
        return self.resolve(info, self.arguments(variables))


@dataclass(frozen=True, slots=True)
class Plan:
    """How a plain operation is run. `name` is what the observer is told, `blank` the answer without the values."""

    name: str
    kind: OperationType
    schema: strawberry.Schema
    document: DocumentNode
    operation: OperationDefinitionNode
    variables: Variables
    fields: tuple[RootField, ...]
    blank: dict[str, Any]

    def coerced(self, sent: Mapping[str, Any]) -> VariableValues | None:
        """The values of the variables; None where one is not plain."""
        try:
            return self.variables.coerced(sent)
        except Exception:  # whatever it is, graphql-core meets it too, and answers it
            return None

    async def run(self, context: object, sent: dict[str, Any], variables: VariableValues) -> ExecutionResult:
        """What graphql-core would answer; errors are in the result."""
        run = self._side_by_side if self.kind is OperationType.QUERY and len(self.fields) > 1 else self._in_turn
        outcomes: Outcomes = {}
        try:
            return ExecutionResult(await run(context, variables, outcomes))
        except Exception:  # whatever it is, graphql-core meets it too, and answers it
            return await self._handed_over(context, sent, outcomes)

    async def _in_turn(self, context: object, variables: VariableValues, outcomes: Outcomes) -> dict[str, Any]:
        """A field begins when what is answered for the one before is known (GraphQL, 6.2.2)."""
        data = self.blank.copy()
        for field in self.fields:
            work = field.work(context, variables)
            try:
                outcomes[field.key] = found = await work
            except Exception as error:
                outcomes[field.key] = error
                raise
            data[field.key] = field.complete(found)
        return data

    async def _side_by_side(self, context: object, variables: VariableValues, outcomes: Outcomes) -> dict[str, Any]:
        data = self.blank.copy()
        for field in self.fields:
            outcomes[field.key] = asyncio.ensure_future(field.work(context, variables))
        for field, found in zip(self.fields, await asyncio.gather(*outcomes.values()), strict=True):
            data[field.key] = field.complete(found)
        return data

    async def _handed_over(self, context: object, sent: dict[str, Any], outcomes: Outcomes) -> ExecutionResult:
        """What graphql-core makes of what the resolvers did. It calls those that were not called."""

        def resolved(resolve: Callable[..., Any], source: Any, info: Info, **arguments: Any) -> Any:
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
                middleware=[resolved],
                executor_class=self.schema.execution_context_class,
                is_awaitable=optimized_is_awaitable,  # type: ignore[arg-type]
            )
        )


async def _again(outcome: Any) -> Any:
    if isinstance(outcome, Exception):
        raise outcome
    return await outcome if isinstance(outcome, asyncio.Future) else outcome
