"""Plans and the bypass answer as graphql-core alone does, whatever is asked and whatever resolvers return."""

import asyncio
import gc
import json
import math
import os
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from copy import copy
from datetime import UTC, datetime
from random import Random
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
import strawberry
from graphql import Executor as GraphQLExecutor
from graphql import GraphQLObjectType, get_introspection_query
from graphql import OperationType as Kind
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from strawberry.extensions import FieldExtension, SchemaExtension
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.graphql import OperationType

from models.errors import BadRequest, ErrorCode, Forbidden, Unavailable
from models.inbox import InboxOrder
from models.observer import Observer, Operation
from schema import Schema, build_schema
from schema.context import GraphQLContext
from schema.http.extensions import DocumentCache
from schema.inbox import EmailInboxFilter, EmailInboxOrder
from schema.plans.executor import executor_class
from schema.plans.plan import Plan
from tests.operations import Writer, value_of

FULL = os.environ.get("FUZZ") == "full"
EXAMPLES = settings(
    max_examples=5_000 if FULL else 200,
    deadline=None,
    derandomize=not FULL,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
BOTH = {OperationType.QUERY, OperationType.MUTATION}
READ = "query Read($id: ID) { emailInbox(id: $id) { id name version createdAt department smtp { server port } } }"
UPDATE = "mutation ($input: UpdateEmailInboxInput!) { updateEmailInbox(input: $input) { success } }"

pytestmark = pytest.mark.timeout(3_600 if FULL else 120)


class Told(Observer, Operation):
    """Writes down what it is told, but how long things took."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def executing(self) -> Operation:
        self.said.append("executing")
        return self

    def end(self, name: str, *, failed: bool) -> None:
        self.said.append(("end", name, failed))

    def leave(self) -> None:
        self.said.append("leave")

    def executed(self, name: str, api: str, code: str, seconds: float) -> None:
        self.said.append(("executed", name, api, code))


class World:
    """A schema whose root resolvers are all replaced by `resolve`, and those below by `Source.resolved`.

    They write down how they were called. `core` is the same schema, executed without plans.
    """

    def __init__(self) -> None:
        self.schema = build_schema()
        self.core = copy(self.schema)
        self.core.execution_context_class = StrawberryGraphQLCoreExecutionContext
        self.resolve: Callable[..., Any] = lambda _info, **_arguments: None
        self.calls: list[Any] = []
        self.told = Told()
        self.owns_loop = False
        """Whether all other tasks of the event loop are those of the operation."""

    async def called(self, info: Any, **arguments: Any) -> Any:
        raw = info._raw_info
        told = (raw.path, raw.variable_values, raw.parent_type, raw.operation, raw.fragments, raw.root_value)
        self.calls.append((raw.path.key, str(arguments), str(told), str(info.selected_fields), str(info.return_type)))
        found = self.resolve(info, **arguments)
        return await found if asyncio.iscoroutine(found) else found

    def below(self, field: str) -> Callable[..., Any]:
        """The resolver of a field below the root."""

        async def resolve(source: Any = None, *, parent: Any = None, info: Any = None) -> Any:
            source = parent or source
            self.calls.append((field, info and (info.path, info.context.context.observer is self.told)))
            for _ in range(len(self.calls) % 3):
                await asyncio.sleep(0)
            return source.resolved(field)

        return resolve

    def context(self) -> GraphQLContext:
        context: Any = SimpleNamespace(observer=self.told, api="graphql", request_id="")
        return GraphQLContext(context)

    async def ask(self, execute: Any, text: str, sent: Any = None, name: str | None = None) -> tuple[str, Any, Any]:
        """What is answered, how resolvers were called for it, and what the observer was told."""
        self.calls, self.told = [], Told()
        result = await execute(
            text,
            variable_values=sent,
            context_value=self.context(),
            operation_name=name,
            allowed_operation_types=BOTH,
        )
        answer = shown(result)
        await self.finish_calls()
        return answer, self.calls, self.told.said

    async def finish_calls(self) -> None:
        """Where null has gone up, graphql-core answers at once and lets the resolvers of siblings run on.

        Such a call must not be counted in the next way's calls.
        """
        while self.owns_loop and (others := asyncio.all_tasks() - {asyncio.current_task()}):
            await asyncio.wait(others)

    async def follow(self, schema: Schema, text: str, sent: Any) -> tuple[list[str], Any, Any]:
        """The same of a subscription."""
        self.calls, self.told = [], Told()
        results = await schema.subscribe(text, variable_values=sent, context_value=self.context())
        answers = [shown(result) async for result in results]
        await self.finish_calls()
        return answers, self.calls, self.told.said

    async def alike(self, text: str, sent: Any = None, name: str | None = None) -> Any:
        """The data and the errors, which are the same whichever way."""
        expected = await self.ask(super(Schema, self.core).execute, text, sent, name)
        assert await self.ask(super(Schema, self.schema).execute, text, sent, name) == expected
        assert await self.ask(self.schema.execute, text, sent, name) == expected
        return json.loads(expected[0])[:2]

    def plans(self, text: str) -> list[Plan]:
        """Those that were made for a document."""
        document = self.schema._documents.documents.get(text)
        return [plan for plan in document.plans._plans.values() if plan] if document and document.plans else []

    def is_planned(self, text: str) -> bool:
        """Whether nothing below the root is left to graphql-core."""
        plans = self.plans(text)
        return bool(plans) and not any(plan.left for plan in plans)


def shown(result: Any) -> str:
    errors = [error.formatted for error in result.errors] if result.errors else result.errors
    return json.dumps([result.data, errors, result.extensions or {}])


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    kinds = made.schema._schema.type_map.values()
    for kind in (one for one in kinds if isinstance(one, GraphQLObjectType) and not one.name.startswith("__")):
        for name, field in kind.fields.items():
            base = field.extensions["strawberry-definition"].base_resolver
            is_root = kind.name in ("Query", "Mutation", "Subscription")
            if base:
                monkeypatch.setattr(base, "wrapped_func", made.called if is_root else made.below(name))
    return made


def inbox(**more: Any) -> Any:
    smtp = SimpleNamespace(server="smtp.example.org", port=465, oauth2=None)
    made = SimpleNamespace(id="a", name="A", version=1, created_at=datetime(2026, 1, 2, tzinfo=UTC), department=None)
    vars(made).update({"smtp": smtp, **more})
    return made


# ---------------------------------------------------------------------------------------------------- any operation


def answers_of(world: World, seed: int, oddness: float) -> Callable[..., Any]:
    """A resolver of root fields, whose values are mostly right."""

    async def resolve(info: Any, **_arguments: Any) -> Any:
        raw = info._raw_info
        random = Random(f"{seed}{raw.path.key}")
        # Of fields that fail side by side, it is chance which error is told first, or alone.
        odd = oddness if sum(len(call) > 2 for call in world.calls) - 1 == seed % 2 else 0
        for _ in range(random.randrange(3)):
            await asyncio.sleep(0)
        if random.random() < 5 * odd:
            raise random.choice([Forbidden(), BadRequest("no"), Unavailable(), RuntimeError("broken")])
        return value_of(raw.return_type, f"{seed}{raw.path.key}", odd)

    return resolve


@pytest.fixture
def collected() -> Iterator[None]:
    """Garbage is collected at the end, so that a warning of it is one of this test."""
    yield
    gc.collect()


def abandons_coroutines(test: Callable[..., None]) -> Callable[..., None]:
    """Where an item breaks a list, graphql-core drops the coroutines of other items before it has begun them."""
    filters = (
        "ignore:coroutine .* was never awaited:RuntimeWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    )
    marked: Callable[..., None] = pytest.mark.usefixtures("collected")(pytest.mark.filterwarnings(*filters)(test))
    return marked


@abandons_coroutines
@EXAMPLES
@given(seed=st.integers(0, 2**32), oddness=st.sampled_from([0, 0.005, 0.02]))
@example(seed=16064, oddness=0.02)  # coroutines are dropped
@example(seed=16775, oddness=0.02)  # a resolver below a list ends after the answer is known
def test_any_operation_is_answered_alike(world: World, seed: int, oddness: float) -> None:
    writer = Writer(world.schema._schema, Random(seed))
    text, world.resolve = writer.document(Kind.QUERY, Kind.MUTATION), answers_of(world, seed, oddness)
    world.owns_loop = True
    asyncio.run(world.alike(text, writer.sent))


@abandons_coroutines
@EXAMPLES
@given(seed=st.integers(0, 2**32), oddness=st.sampled_from([0, 0.005, 0.02]))
def test_any_subscription_is_answered_alike(world: World, seed: int, oddness: float) -> None:
    async def events(info: Any, **_arguments: Any) -> Any:
        async def changes() -> AsyncIterator[Any]:
            for number in range(3):
                yield value_of(info._raw_info.return_type, f"{seed}{number}", oddness)

        return changes()

    async def alike() -> None:
        expected = await world.follow(world.core, text, writer.sent)
        assert await world.follow(world.schema, text, writer.sent) == expected

    writer = Writer(world.schema._schema, Random(seed))
    text, world.resolve = writer.document(Kind.SUBSCRIPTION), events
    world.owns_loop = True
    asyncio.run(alike())


def test_most_of_these_operations_have_plans(world: World) -> None:
    async def plans() -> list[list[Plan]]:
        found = []
        for seed in range(100):
            writer = Writer(world.schema._schema, Random(seed))
            text, world.resolve = writer.document(Kind.QUERY, Kind.MUTATION), answers_of(world, seed, 0)
            await world.ask(world.schema.execute, text, writer.sent)
            found.append(world.plans(text))
        return found

    found = asyncio.run(plans())
    assert sum(map(bool, found)) > len(found) / 2
    assert sum(any(plan.left for plan in one) for one in found) > len(found) / 10


# ---------------------------------------------------------------------------------------------------- what is plain


async def test_only_fields_with_resolvers_are_executed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    executed: list[str] = []

    def execute_field(self: Any, kind: Any, source: Any, details: Any, *more: Any) -> Any:
        executed.append(details[0].node.name.value)
        return original(self, kind, source, details, *more)

    original = GraphQLExecutor.execute_field
    monkeypatch.setattr(GraphQLExecutor, "execute_field", execute_field)
    world.resolve = lambda info, **_arguments: value_of(info._raw_info.return_type, "1", 0)
    text = "{ emailInboxes { pageInfo { endCursor } totalCount nodes { id createdBy { name } smtp { port } email } } }"
    for execute, root in ((super(Schema, world.schema).execute, ["emailInboxes"]), (world.schema.execute, [])):
        executed.clear()
        answer, _, _ = await world.ask(execute, text)
        nodes = json.loads(answer)[0]["emailInboxes"]["nodes"]
        assert [*nodes[0]] == ["id", "createdBy", "smtp", "email"]
        assert executed == [*root, "totalCount", "nodes", *["createdBy"] * len(nodes)]
    assert [[*plan.left] for plan in world.plans(text) if plan.left] == [["createdBy"], ["totalCount", "nodes"]]


@pytest.mark.parametrize(
    "selected", ["emailInbox { id name smtp { port } }", "id emailInbox { createdBy { name } id }"]
)
async def test_a_subscription_has_plans(world: World, selected: str) -> None:
    async def events(info: Any, **_arguments: Any) -> Any:
        async def changes() -> AsyncIterator[Any]:
            for _ in range(50):
                yield value_of(info._raw_info.return_type, "1", 0)

        return changes()

    world.resolve = events
    text = f"subscription {{ emailInboxChanged {{ {selected} }} }}"
    expected = await world.follow(world.core, text, {})
    assert not world.plans(text)
    assert await world.follow(world.schema, text, {}) == expected
    assert world.plans(text)


@pytest.mark.parametrize("selected", ["emailInbox { createdBy { name } }", "emailInbox { id @include(if: true) }"])
async def test_a_subscription_keeps_nothing_of_an_event(
    world: World, monkeypatch: pytest.MonkeyPatch, selected: str
) -> None:
    async def events(info: Any, **_arguments: Any) -> Any:
        async def changes() -> AsyncIterator[Any]:
            for _ in range(50):
                yield value_of(info._raw_info.return_type, "1", 0)

        return changes()

    def collect_subfields(self: Any, *arguments: Any) -> Any:
        found = original(self, *arguments)
        kept.append(len(self._relevant_sub_fields))
        return found

    kept: list[int] = []
    original = GraphQLExecutor.collect_subfields
    monkeypatch.setattr(GraphQLExecutor, "collect_subfields", collect_subfields)
    world.resolve = events
    await world.follow(world.schema, f"subscription {{ emailInboxChanged {{ {selected} }} }}", {})
    assert len(kept) >= 50
    assert max(kept) < 10


async def test_a_known_operation_passes_strawberry_by(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    text = READ.replace("server", "oauth2 { scope } server")
    world.resolve = lambda _info, **_arguments: inbox()
    await world.alike(text, {"id": "a"})
    monkeypatch.setattr(strawberry.Schema, "execute", None)
    monkeypatch.setattr(GraphQLExecutor, "execute_field", None)  # null where it may be is not odd
    answer, calls, _ = await world.ask(world.schema.execute, text, {"id": "a"})
    assert json.loads(answer)[0]["emailInbox"]["smtp"] == {"oauth2": None, "server": "smtp.example.org", "port": 465}
    assert len(calls) == 1


@pytest.mark.parametrize(
    "text",
    [
        "query ($yes: Boolean!) { viewer { id @include(if: $yes) } }",
        "query ($yes: Boolean!) { viewer { id ... @skip(if: $yes) { name } } }",
        "query ($yes: Boolean!) { viewer { id name } viewer @skip(if: $yes) { username } }",
        "{ __typename }",
        "{ __schema { queryType { name } } }",
        "{ viewer { email } }",
        "{ viewer { __typename } }",
    ],
)
async def test_graphql_core_completes_what_has_no_plan(world: World, text: str) -> None:
    world.resolve = lambda info, **_arguments: value_of(info._raw_info.return_type, "1", 0)
    for yes in (True, False):
        await world.alike(text, {"yes": yes})
    assert text in world.schema._documents.documents
    assert not world.plans(text)


async def test_a_selection_may_begin_with_the_same_field_as_another(world: World) -> None:
    world.resolve = lambda _info, **_arguments: inbox()
    data, _ = await world.alike(
        "{ a: emailInbox { ...F } b: emailInbox { ...F smtp { server } } } fragment F on EmailInbox { smtp { port } }"
    )
    assert data == {"a": {"smtp": {"port": 465}}, "b": {"smtp": {"port": 465, "server": "smtp.example.org"}}}


async def test_how_much_is_compiled_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schema.plans.plan.MAX_FIELDS", 7)
    world.resolve = lambda _info, **_arguments: inbox()
    await world.alike(READ)
    assert [[*plan.left] for plan in world.plans(READ)] == [["smtp"]]


async def test_plans_leave_with_their_document(world: World) -> None:
    await world.alike(READ)
    documents = world.schema._documents
    node = documents.documents[READ].node
    assert documents.plans(node)
    documents.documents.clear()
    gc.collect()
    assert not documents.plans(node)


async def test_nothing_of_a_request_is_kept(world: World) -> None:
    world.resolve = lambda _info, **_arguments: inbox(name=None)
    context = world.context()
    kept = weakref.ref(context)
    for _ in range(2):
        await world.schema.execute(READ, {"id": "secret"}, context, allowed_operation_types=BOTH)
    bypass = world.schema._documents.bypass(world.schema, READ, None)
    assert bypass
    assert not bypass.executor.variable_values.coerced
    assert not bypass.executor.collected_errors.errors
    del context
    world.calls = []
    gc.collect()
    assert kept() is None


@strawberry.interface
class Named:
    name: str


@strawberry.type
class Person(Named):
    age: int = 7


@strawberry.type
class Company(Named):
    @strawberry.field
    async def owner(self) -> Person:
        return Person(name="B")


class Failing(Exception):
    """Has what a `Box` has."""

    label = "A"


@strawberry.type
class Box:
    label: str | None

    @strawberry.field
    def at_once(self, fail: bool = False) -> str:
        if fail:
            raise Forbidden
        return f"at once {self.label}"

    @strawberry.field
    async def later(self, fail: bool = False) -> str | None:
        await asyncio.sleep(0)
        if fail:
            raise Forbidden
        return f"later {self.label}"

    @strawberry.field
    def named(self) -> Named:
        return Person(name="A") if self.label == "A" else Company(name="C")

    @strawberry.field
    def either(self) -> list[Annotated[Person | Company, strawberry.union("Either")]]:
        return [Person(name="A"), Company(name="C")]

    @strawberry.field
    def person(self) -> Person:
        return Person(name="A")

    inner: "Box | None" = None
    owner: Person | None = None


class Louder(FieldExtension):
    """Changes what a resolver returns."""

    async def resolve_async(self, next_: Any, source: Any, info: Any, **arguments: Any) -> Any:
        found = await next_(source, info, **arguments)
        return Box(label=f"{found.label}!")


@strawberry.type
class Odd:
    @strawberry.field
    @staticmethod
    def box() -> Box | None:
        return Box(label="A", inner=Box(label="B"))

    @strawberry.field
    @staticmethod
    def boxes() -> list[Box | None]:
        return [Box(label="A"), None, Box(label=None, inner=Box(label="A")), Failing()]  # type: ignore[list-item]

    @strawberry.field
    @staticmethod
    async def named() -> Named:
        return Person(name="A")

    @strawberry.field
    @staticmethod
    async def grown(items: list[int]) -> int:
        items.append(0)
        return len(items)

    @strawberry.field(extensions=[Louder()])  # type: ignore[untyped-decorator]
    @staticmethod
    async def louder() -> Box:
        return Box(label="A")

    @strawberry.field
    @staticmethod
    def failing() -> Box:
        raise Failing

    @strawberry.field
    @staticmethod
    def broken() -> Box:
        return Box(label=7, inner=Failing(), owner=SimpleNamespace(name="C"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "{ box { label atOnce later inner { label } } }",
        "{ box { later a: later label b: label atOnce inner { later label inner { label later } } } }",
        "{ box { label later(fail: true) atOnce x: later } }",
        "{ box { label later atOnce(fail: true) x: later } }",
        "{ box { label inner { later atOnce(fail: true) label } } }",
        "{ box { inner { inner { atOnce } label } ... on Box { inner { later inner { label } } } } }",
        "{ box { label named { name __typename ... on Person { age } ... on Company { owner { age } } } } }",
        "{ box { label either { __typename ... on Person { age } ... on Company { name } } person { age } } }",
        "{ boxes { label __typename } }",
        "{ boxes { label later atOnce inner { label atOnce } } }",
        "{ named { __typename name ... on Person { age } } }",
        "{ grown(items: [1, 2]) }",
        "{ louder { label } }",
        "{ failing { label } }",
        "{ broken { label later } }",
        "{ broken { label inner { label } } }",
        "{ broken { later inner { label } } }",
        "{ broken { x: __typename owner { name } } }",
        "{ broken { ...B inner { ...B } } } fragment B on Box { label later ... { named { name } } }",
        "query ($fail: Boolean!) { boxes { label later(fail: $fail) atOnce } }",
    ],
)
async def test_what_the_schema_does_not_have_is_answered_alike(text: str) -> None:
    documents = DocumentCache(introspection=True)
    answers = []
    for kind in (StrawberryGraphQLCoreExecutionContext, executor_class(documents.plans)):
        schema = strawberry.Schema(
            Odd, types=[Person, Company], extensions=[documents.extension()], execution_context_class=kind
        )
        answers.append(shown(await schema.execute(text, {"fail": True})))
    bypass = documents.bypass(schema, text, None)
    assert bypass
    variables = bypass.variables({"fail": True})
    assert variables
    answers += [shown(await bypass.run(None, variables)) for _ in range(2)]
    assert answers[1:] == answers[:1] * 3
    assert documents.documents[text].plans


async def test_a_document_with_a_literal_is_not_kept(world: World) -> None:
    text = '{ emailInbox(id: "secret") { id } }'
    await world.alike(text)
    await world.alike(text)
    assert not world.schema._documents.documents
    assert not world.schema._documents._by_node


async def test_an_operation_is_known_by_its_name(world: World) -> None:
    world.resolve = lambda _info, **_arguments: inbox()
    text = "query A { emailInbox { id } } query B { b: emailInbox { name } }"
    assert (await world.alike(text, name="A"))[0] == {"emailInbox": {"id": "a"}}
    assert (await world.alike(text, name="B"))[0] == {"b": {"name": "A"}}
    assert world.is_planned(text)
    world.resolve = lambda _info, **_arguments: inbox(name=None)
    assert (await world.alike(text, name="B"))[0] == {"b": None}
    data, errors = await world.alike(text)
    assert data is None
    assert "Must provide operation name" in errors[0]["message"]
    known = world.schema._documents.documents[text]
    assert not known.bypass(world.schema, "C")
    assert len(known.bypasses) == 2  # names that clients make up are not kept


async def test_a_known_mutation_is_refused_where_only_queries_may_run(world: World) -> None:
    world.resolve = lambda _info, **_arguments: SimpleNamespace(success=True)
    sent: Any = {"input": {"id": "a"}}
    await world.alike(UPDATE, sent)
    assert world.is_planned(UPDATE)
    world.calls = []
    with pytest.raises(InvalidOperationTypeError):
        await world.schema.execute(UPDATE, sent, world.context(), allowed_operation_types={OperationType.QUERY})
    assert not world.calls


# ---------------------------------------------------------------------------------------------- values of variables


async def test_one_request_leaves_nothing_to_the_next(world: World) -> None:
    text = "query ($n: Int) { emailInboxes(first: $n) { nodes { id } } }"
    world.resolve = lambda _info, **arguments: SimpleNamespace(nodes=[inbox(id=str(arguments))])
    await world.alike(text, {"n": 3})
    first = await world.schema.execute(text, {"n": 3}, world.context(), allowed_operation_types=BOTH)
    await world.alike(text, {"n": 4})
    await world.alike(text, {})
    assert first.data
    assert "'first': 3" in first.data["emailInboxes"]["nodes"][0]["id"]


@pytest.mark.parametrize(
    "sent",
    [
        {"id": "a"},
        {"id": "a", "name": None, "smtp": None},
        {"id": "a", "active": False, "smtp": {"port": 25, "oauth2": None}},
        {"id": 7},
        {"id": None},
        {},
        None,
        [],
        {"id": "a", "nobody": 1},
        {"id": "a", "smtp": {"nobody": 1}},
        {"id": "a", "smtp": [{"port": 1}]},
        {"id": "a", "active": "true"},
        {"id": "a", "active": 1},
        {"id": "a", "smtp": {"port": "25"}},
        {"id": "a", "smtp": {"port": 25.0}},
        {"id": "a", "smtp": {"port": 2**31}},
        {"id": "a", "smtp": {"port": True}},
        {"id": "a", "name": "\ud800"},
    ],
)
async def test_an_input_is_coerced_alike(world: World, sent: Any) -> None:
    world.resolve = lambda _info, **_arguments: SimpleNamespace(success=True)
    await world.alike(UPDATE, {"input": sent})
    await world.alike(UPDATE, {"input": sent, "nobody": object()})


@pytest.mark.parametrize(
    "permissions", [["READ_EMAIL"], [], None, "READ_EMAIL", "READ", [None], ["READ"], [["READ_EMAIL"]]]
)
async def test_a_list_is_coerced_alike(world: World, permissions: Any) -> None:
    world.resolve = lambda _info, **_arguments: SimpleNamespace(success=True)
    text = "mutation ($input: CreateAccessTokenInput!) { createAccessToken(input: $input) { success } }"
    await world.alike(text, {"input": {"name": "A", "permissions": permissions, "expiresAt": "2030-01-31T12:00:00Z"}})
    await world.alike(text, {"input": {"name": "A", "permissions": permissions, "expiresAt": "2030-01-31"}})


async def test_null_is_told_from_absent(world: World) -> None:
    inputs = []

    def resolve(_info: Any, input: dict[str, Any]) -> Any:
        inputs.append(input)
        return SimpleNamespace(success=True)

    world.resolve = resolve
    await world.alike(UPDATE, {"input": {"id": "a", "description": None, "smtp": {"tlsFingerprint": None}}})
    assert inputs == [{"id": "a", "description": None, "smtp": {"tlsFingerprint": None}}] * 3
    assert type(inputs[0]) is type(inputs[1])


@pytest.mark.parametrize(
    ("variables", "arguments", "sent"),
    [
        ("($n: Int)", "first: $n", {"n": 3}),
        ("($n: Int)", "first: $n", {}),
        ("($n: Int)", "first: $n", None),
        ("($n: Int = 4)", "first: $n", {"n": None}),
        ("($n: Int = 4)", "first: $n", {}),
        ("($n: Int! = 4)", "first: $n", {"n": None}),
        ("", "first: 5, filter: {active: true}", {}),
        ("($no: Boolean)", "filter: {active: $no}", {}),
        ("($no: Boolean)", "filter: {active: $no}", {"no": None}),
        ("($by: EmailInboxOrder! = {field: NAME, direction: ASC})", "orderBy: $by", {}),
        ("($by: EmailInboxOrder)", "orderBy: $by", {"by": None}),
        ("($by: EmailInboxOrder)", "orderBy: $by", {}),
        ("($f: EmailInboxOrderField!)", "orderBy: {field: $f, direction: DESC}", {"f": "EMAIL"}),
        ("($f: EmailInboxOrderField!)", "orderBy: {field: $f, direction: DESC}", {"f": "ID"}),
    ],
)
async def test_arguments_are_coerced_alike(world: World, variables: str, arguments: str, sent: Any) -> None:
    world.resolve = lambda _info, **_arguments: SimpleNamespace(nodes=[inbox()])
    await world.alike(f"query {variables} {{ emailInboxes({arguments}) {{ nodes {{ id }} }} }}", sent)


async def test_input_objects_are_those_of_strawberry(world: World) -> None:
    text = """query ($filter: EmailInboxFilter, $by: EmailInboxOrderField!) {
        emailInboxes(filter: $filter, orderBy: {field: $by, direction: DESC}) { nodes { id } }
    }"""
    found: list[Any] = []

    def resolve(_info: Any, filter: Any, order_by: Any) -> Any:
        found.append((filter, order_by))
        return SimpleNamespace(nodes=())

    world.resolve = resolve
    await world.alike(text, {"filter": {"active": True}, "by": "EMAIL"})
    assert world.is_planned(text)
    for wanted, order_by in found:
        assert wanted == EmailInboxFilter(active=True)
        assert isinstance(order_by, EmailInboxOrder)
        assert order_by.field is InboxOrder.EMAIL
    assert found[0][0] is not found[1][0]


# --------------------------------------------------------------------------------------------------- what comes back


class Text(str):
    __slots__ = ()


class Broken:
    @property
    def server(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("odd", "data", "errors"),
    [
        ({"name": Text("A")}, True, 0),
        ({"name": 7}, True, 0),
        ({"name": None}, False, 1),
        ({"name": ["A"]}, False, 1),
        ({"version": 2**31}, False, 1),
        ({"version": "1"}, True, 0),
        ({"version": True}, True, 0),
        ({"created_at": "2026"}, False, 1),
        ({"created_at": datetime(2026, 1, 2)}, True, 0),  # noqa: DTZ001 - that is what is odd
        ({"smtp": None}, False, 1),
        ({"smtp": Broken()}, False, 1),
        ({"smtp": RuntimeError("it")}, False, 1),
    ],
)
async def test_an_odd_value_is_completed_alike(world: World, odd: dict[str, Any], data: bool, errors: int) -> None:
    world.resolve = lambda _info, **_arguments: inbox(**odd)
    found, told = await world.alike(READ)
    assert world.is_planned(READ)
    assert (found["emailInbox"] is not None, len(told or [])) == (data, errors)
    assert len(world.calls) == 1  # it was not asked again


async def test_enums_and_lists_are_completed_alike(world: World) -> None:
    text = "mutation ($id: ID!) { deleteEmailInbox(id: $id) { success userErrors { code field } } }"
    for code in (ErrorCode.TAKEN, "TAKEN", "nobody", None):
        for field in (None, [], ["a", "b"], ("a",), {"a": 1}, "a", 7, [None], [1]):
            payload = SimpleNamespace(success=False, user_errors=(SimpleNamespace(code=code, field=field),))
            world.resolve = lambda _info, payload=payload, **_arguments: payload
            await world.alike(text, {"id": "a"})
    assert world.is_planned(text)


@pytest.mark.parametrize("milliseconds", [1.5, 0.0, 7, math.nan, math.inf, True, "1", None])
async def test_a_float_is_completed_alike(world: World, milliseconds: Any) -> None:
    text = (
        "mutation ($input: CheckEmailInboxInput!) { checkEmailInbox(input: $input) { smtp { stages { durationMs } } } }"
    )
    smtp = SimpleNamespace(stages=[SimpleNamespace(duration_ms=milliseconds)])
    world.resolve = lambda _info, **_arguments: SimpleNamespace(smtp=smtp)
    await world.alike(text, {"input": {}})
    assert world.is_planned(text)


async def test_a_field_may_be_named_as_the_one_above(world: World) -> None:
    world.resolve = lambda _info, **_arguments: inbox(version="1")  # graphql-core must see to it
    data, _ = await world.alike("{ name: emailInbox { name version } }")
    assert data == {"name": {"name": "A", "version": 1}}


@pytest.mark.parametrize("error", [Forbidden(), BadRequest("no"), RuntimeError("it"), Unavailable()])
async def test_an_error_of_a_resolver_is_told_alike(world: World, error: Exception) -> None:
    def resolve(_info: Any, **_arguments: Any) -> Any:
        raise error

    world.resolve = resolve
    for text, data in ((READ, {"emailInbox": None}), ("{ viewer { id } }", None)):
        found, errors = await world.alike(text)
        assert found == data
        assert errors[0]["path"]
        assert errors[0]["locations"]
        assert len(world.calls) == 1


async def test_mutations_run_in_turn_until_one_breaks(world: World) -> None:
    text = "mutation ($id: ID!) { a: deleteUser(id: $id) { success } b: logout { success } c: logout { success } }"

    def resolve(info: Any, **_arguments: Any) -> Any:
        return SimpleNamespace(success=None if info.path.key == "b" else True)

    world.resolve = resolve
    data, errors = await world.alike(text, {"id": "a"})
    assert data is None
    assert [error["path"] for error in errors] == [["b", "success"]]
    assert [call[0] for call in world.calls] == ["a", "b"]


async def test_fields_of_a_query_run_side_by_side(world: World) -> None:
    text = "{ a: emailInbox { id } __typename b: emailInbox { id } }"
    meeting = asyncio.Barrier(2)

    async def resolve(_info: Any, **_arguments: Any) -> Any:
        await meeting.wait()
        return inbox()

    world.resolve = resolve
    data, _ = await world.alike(text)
    assert list(data) == ["a", "__typename", "b"]
    assert world.is_planned(text)


async def test_a_cancelled_operation_is_told_as_failed(world: World) -> None:
    world.resolve = lambda _info, **_arguments: inbox()
    await world.alike(READ)
    begun, told = asyncio.Event(), []

    async def resolve(_info: Any, **_arguments: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    world.resolve = resolve
    for execute in (super(Schema, world.schema).execute, world.schema.execute):
        begun.clear()
        asking = asyncio.create_task(world.ask(execute, READ))
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        told.append(world.told.said)
    assert told == [["executing", ("end", "query emailInbox", True), "leave"]] * 2


async def test_an_extension_sees_every_request_and_every_field(world: World) -> None:
    seen: list[str | None] = []
    fields: list[str] = []

    class Watching(SchemaExtension):
        def on_operation(self) -> Iterator[None]:
            seen.append(self.execution_context.query)
            yield

    class Wrapping(SchemaExtension):
        def resolve(self, _next: Any, root: Any, info: Any, *args: Any, **kwargs: Any) -> Any:
            fields.append(info.field_name)
            return _next(root, info, *args, **kwargs)

    world.resolve = lambda _info, **_arguments: inbox()
    for extensions in ([Watching], [Watching, Wrapping]):
        seen.clear()
        schema = Schema(introspection=True, extensions=extensions)
        for _ in range(3):
            fields.clear()
            assert (await schema.execute(READ, {"id": "a"}, world.context(), allowed_operation_types=BOTH)).data
            assert len(fields) == (9 if Wrapping in extensions else 0)
        assert seen == [READ] * 3


async def test_schemas_share_no_documents(world: World) -> None:
    first, second = build_schema(), build_schema()
    await first.execute(READ, {"id": "a"}, world.context())
    assert READ in first._documents.documents
    assert READ not in second._documents.documents


INTROSPECTION = get_introspection_query()


async def test_an_introspection_is_run_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await world.schema.execute(INTROSPECTION, {}, world.context())
    monkeypatch.setattr(GraphQLExecutor, "build", None)  # graphql-core has no part in it any more
    again = await world.schema.execute(INTROSPECTION, {}, world.context())
    assert again.data == first.data
    assert first.data


async def test_an_introspection_with_variables_is_run_each_time(world: World) -> None:
    text = 'query ($all: Boolean!) { __type(name: "Query") { fields @include(if: $all) { name } } }'
    answers = [await world.schema.execute(text, {"all": yes}, world.context()) for yes in (True, False)]
    assert [list((answer.data or {})["__type"]) for answer in answers] == [["fields"], []]


async def test_answers_of_introspection_are_kept_by_operation(world: World) -> None:
    text = "query A { __schema { queryType { name } } } query B { __typename }"
    for name, data in (("A", {"__schema": {"queryType": {"name": "Query"}}}), ("B", {"__typename": "Query"})) * 2:
        assert (await world.schema.execute(text, {}, world.context(), operation_name=name)).data == data
