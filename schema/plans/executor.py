"""graphql-core's executor, with plain fields completed by compiled functions."""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from graphql import DocumentNode, GraphQLError, GraphQLObjectType, GraphQLSchema
from graphql import Executor as GraphQLExecutor
from graphql.execution.collect_fields import FieldDetailsList
from graphql.pyutils import AwaitableOrValue, Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from schema.plans.plan import Plan, PlanCache

Data = dict[str, Any]
FindPlans = Callable[[DocumentNode], PlanCache | None]


class Executor(StrawberryGraphQLCoreExecutionContext):
    """Executes one operation."""

    find_plans: ClassVar[FindPlans]
    plans: PlanCache | None = None
    """None: graphql-core completes every field."""

    @classmethod
    def build(
        cls, schema: GraphQLSchema, document: DocumentNode, *arguments: Any, **named: Any
    ) -> list[GraphQLError] | GraphQLExecutor[Any]:
        executor = super().build(schema, document, *arguments, **named)
        if isinstance(executor, Executor) and not executor._is_watched():
            executor.plans = cls.find_plans(document)
        return executor

    def build_per_event_executor(self, payload: Any) -> GraphQLExecutor[Any]:
        """The executor of one event, which remembers selections by itself.

        graphql-core keeps them by lists that it makes anew for each event, as long as the subscription is open.
        """
        executor = super().build_per_event_executor(payload)
        executor._relevant_sub_fields = {}
        return executor

    def _is_watched(self) -> bool:
        """Whether an extension of the schema wraps every resolver."""
        return bool(self.middleware_manager and self.middleware_manager.middlewares)

    def find_plan(self, kind: GraphQLObjectType, details: FieldDetailsList) -> Plan | None:
        return self.plans.find(self, kind, details) if self.plans else None

    def collect_and_execute_subfields(
        self, kind: GraphQLObjectType, details: FieldDetailsList, path: Path, source: Any, context: Any
    ) -> AwaitableOrValue[Data]:
        """Completes the plain fields, then calls resolvers. On an unexpected value, graphql-core completes all."""
        plan = self.find_plan(kind, details)
        if plan is None:
            return super().collect_and_execute_subfields(kind, details, path, source, context)
        try:
            data = plan.complete(source)
        except Exception:  # graphql-core meets the same problem, and reports it
            return super().collect_and_execute_subfields(kind, details, path, source, context)
        if not plan.left:
            return data
        found = self.execute_fields(kind, source, path, plan.left, context)
        return data | found if isinstance(found, dict) else _join(data, found)


def executor_class(find_plans: FindPlans) -> type[Executor]:
    """The executor of one schema. `find_plans` returns the plans of a document, or None."""
    return type("Executor", (Executor,), {"find_plans": staticmethod(find_plans)})


async def _join(data: Data, found: Awaitable[Data]) -> Data:
    return data | await found
