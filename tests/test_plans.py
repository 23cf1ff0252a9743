"""Plans answer as graphql-core does, whatever is asked and whatever resolvers return; what is not plain has none."""

import asyncio
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import strawberry
from graphql import Executor, get_introspection_query, parse, validate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strawberry.extensions import SchemaExtension
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.types import get_object_definition
from strawberry.types.graphql import OperationType

from models.errors import BadRequest, ErrorCode, Forbidden, Unavailable
from models.inbox import InboxOrder
from models.observer import Observer, Operation
from schema import Mutation, Query, Schema, build_schema
from schema.context import GraphQLContext
from schema.http.extensions import DocumentCache
from schema.inbox import EmailInboxFilter, EmailInboxOrder
from schema.plans.planning import Plans
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
    """A schema whose root resolvers are all replaced by `resolve`; they write down how they were called."""

    def __init__(self) -> None:
        self.schema = build_schema()
        self.resolve: Callable[..., Any] = lambda _info, **_arguments: None
        self.calls: list[Any] = []
        self.told = Told()

    async def called(self, info: Any, **arguments: Any) -> Any:
        raw = info._raw_info
        told = (raw.path, raw.variable_values, raw.parent_type, raw.operation, raw.fragments, raw.root_value)
        self.calls.append((raw.path.key, str(arguments), str(told), str(info.selected_fields), str(info.return_type)))
        found = self.resolve(info, **arguments)
        return await found if asyncio.iscoroutine(found) else found

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
        errors = [error.formatted for error in result.errors] if result.errors else result.errors
        return json.dumps([result.data, errors, result.extensions]), self.calls, self.told.said

    async def alike(self, text: str, sent: Any = None, name: str | None = None) -> Any:
        """The data and the errors, which are the same either way."""
        expected = await self.ask(super(Schema, self.schema).execute, text, sent, name)
        assert await self.ask(self.schema.execute, text, sent, name) == expected
        return json.loads(expected[0])[:2]

    def is_planned(self, text: str, name: str | None = None) -> bool:
        return plans_of(self.schema).find(text, name) is not None


def plans_of(schema: Schema) -> Plans:
    assert schema._plans
    return schema._plans


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    for root in (Query, Mutation):
        definition: Any = get_object_definition(root, strict=True)
        for field in definition.fields:
            monkeypatch.setattr(field.base_resolver, "wrapped_func", made.called)
    return made


def inbox(**more: Any) -> Any:
    smtp = SimpleNamespace(server="smtp.example.org", port=465)
    made = SimpleNamespace(id="a", name="A", version=1, created_at=datetime(2026, 1, 2, tzinfo=UTC), department=None)
    vars(made).update({"smtp": smtp, **more})
    return made


# ---------------------------------------------------------------------------------------------------- any operation


@EXAMPLES
@given(seed=st.integers(0, 2**32), oddness=st.sampled_from([0, 0.005, 0.02]))
def test_any_operation_is_answered_alike(world: World, seed: int, oddness: float) -> None:
    async def resolve(info: Any, **_arguments: Any) -> Any:
        raw = info._raw_info
        random = Random(f"{seed}{raw.path.key}")
        # Of fields that fail side by side, it is chance which error is told first, or alone.
        odd = oddness if len(world.calls) - 1 == seed % 2 else 0
        for _ in range(random.randrange(3)):
            await asyncio.sleep(0)
        if random.random() < 5 * odd:
            raise random.choice([Forbidden(), BadRequest("no"), Unavailable(), RuntimeError("broken")])
        return value_of(raw.return_type, f"{seed}{raw.path.key}", odd)

    writer = Writer(world.schema._schema, Random(seed))
    text, world.resolve = writer.document(), resolve
    asyncio.run(world.alike(text, writer.sent))


def test_most_of_these_operations_are_run_by_plans(world: World) -> None:
    async def ways() -> Counter[bool]:
        found: Counter[bool] = Counter()
        for seed in range(100):
            writer = Writer(world.schema._schema, Random(seed))
            text = writer.document()
            await world.ask(world.schema.execute, text, writer.sent)
            plan = plans_of(world.schema).find(text, None)
            found[plan is not None and plan.coerced(writer.sent) is not None] += 1
        return found

    assert asyncio.run(ways())[True] > 50


# ---------------------------------------------------------------------------------------------------- what is plain


async def test_a_plan_is_made_when_a_document_comes_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.resolve = lambda _info, **_arguments: inbox()
    assert not world.is_planned(READ)
    await world.alike(READ, {"id": "a"})
    assert world.is_planned(READ)
    monkeypatch.setattr(Executor, "build", None)  # graphql-core has no part in it any more
    answer, calls, _ = await world.ask(world.schema.execute, READ, {"id": "a"})
    assert json.loads(answer)[0]["emailInbox"]["smtp"] == {"server": "smtp.example.org", "port": 465}
    assert len(calls) == 1


@pytest.mark.parametrize(
    "text",
    [
        "query ($yes: Boolean!) { viewer { id @include(if: $yes) } }",
        "query ($yes: Boolean!) { viewer { id ... @skip(if: $yes) { name } } }",
        "{ __typename }",
        "{ viewer { id } __schema { queryType { name } } }",
        "{ viewer { email } }",
        "{ viewer { __typename } }",
        "{ emailInbox { createdBy { id } } }",
        "{ emailInboxes { totalCount } }",
        "query ($by: EmailInboxOrder! = {field: NAME, direction: ASC}) { emailInboxes(orderBy: $by) { nodes { id } } }",
        "subscription { emailInboxChanged { id } }",
        "{" + "".join(f" a{number}: emailInboxes {{ nodes {{ ...F }} }}" for number in range(25)) + " }"
        " fragment F on EmailInbox { id name email active description senderInfo department version createdAt updatedAt"
        " smtp { server port username secure hasPassword } imap { server port username secure hasPassword } }",
    ],
)
async def test_what_is_not_plain_has_no_plan(world: World, text: str) -> None:
    sent = {"yes": True}
    if text.startswith("subscription"):
        await anext(await world.schema.subscribe(text, context_value=world.context()))
    else:
        await world.alike(text, sent)
        await world.alike(text, sent)
    assert plans_of(world.schema)._documents.known(text)
    assert not world.is_planned(text)


@strawberry.input
class Circle:
    inner: "Circle | None" = None


@strawberry.interface
class Named:
    name: str


@strawberry.type
class Person(Named):
    pass


@strawberry.type
class Odd:
    @strawberry.field
    @staticmethod
    async def circle(circle: Circle) -> str:
        return str(circle)

    @strawberry.field
    @staticmethod
    async def named() -> Named:
        return Person(name="A")

    @strawberry.field
    @staticmethod
    async def person() -> Person:
        return Person(name="A")

    @strawberry.field
    @staticmethod
    def at_once() -> str:
        return "at once"

    @strawberry.field
    async def of_source(self) -> str:
        return str(self)

    @strawberry.field
    @staticmethod
    async def plain(number: int = 1) -> str:
        return str(number)


@pytest.mark.parametrize(
    ("text", "planned"),
    [
        ("query ($it: Circle!) { circle(circle: $it) }", False),
        ("{ named { name } }", False),
        ("{ person { name } }", False),
        ("{ atOnce }", False),
        ("{ ofSource }", False),
        ("query ($it: Int!) { plain(number: $it) }", True),
    ],
)
def test_what_the_schema_does_not_have_has_no_plan(text: str, planned: bool) -> None:
    schema, document = strawberry.Schema(Odd), parse(text)
    assert not validate(schema._schema, document)
    plan = Plans(schema, DocumentCache(introspection=True))._made(text, document, document.definitions[0])  # type: ignore[arg-type]
    assert (plan is not None) == planned


async def test_a_document_with_a_literal_is_not_kept(world: World) -> None:
    text = '{ emailInbox(id: "secret") { id } }'
    await world.alike(text)
    await world.alike(text)
    assert not world.is_planned(text)
    assert not plans_of(world.schema)._plans


async def test_an_operation_is_planned_by_its_name(world: World) -> None:
    world.resolve = lambda _info, **_arguments: inbox()
    text = "query A { emailInbox { id } } query B { b: emailInbox { name } }"
    assert (await world.alike(text, name="A"))[0] == {"emailInbox": {"id": "a"}}
    assert (await world.alike(text, name="B"))[0] == {"b": {"name": "A"}}
    assert world.is_planned(text, "A")
    assert world.is_planned(text, "B")
    world.resolve = lambda _info, **_arguments: inbox(name=None)
    assert (await world.alike(text, name="B"))[0] == {"b": None}
    data, errors = await world.alike(text)
    assert data is None
    assert "Must provide operation name" in errors[0]["message"]
    assert not world.is_planned(text, "C")
    assert len(plans_of(world.schema)._plans) == 2  # names that clients make up are not kept


async def test_a_planned_mutation_is_refused_where_only_queries_may_run(world: World) -> None:
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
    assert world.is_planned(UPDATE)


@pytest.mark.parametrize(
    "permissions", [["READ_EMAIL"], [], None, "READ_EMAIL", "READ", [None], ["READ"], [["READ_EMAIL"]]]
)
async def test_a_list_is_coerced_alike(world: World, permissions: Any) -> None:
    world.resolve = lambda _info, **_arguments: SimpleNamespace(success=True)
    text = "mutation ($input: CreateAccessTokenInput!) { createAccessToken(input: $input) { success } }"
    await world.alike(text, {"input": {"name": "A", "permissions": permissions, "expiresAt": "2030-01-31T12:00:00Z"}})
    await world.alike(text, {"input": {"name": "A", "permissions": permissions, "expiresAt": "2030-01-31"}})
    assert world.is_planned(text)


async def test_null_is_told_from_absent(world: World) -> None:
    inputs = []

    def resolve(_info: Any, input: dict[str, Any]) -> Any:
        inputs.append(input)
        return SimpleNamespace(success=True)

    world.resolve = resolve
    await world.alike(UPDATE, {"input": {"id": "a", "description": None, "smtp": {"tlsFingerprint": None}}})
    assert inputs == [{"id": "a", "description": None, "smtp": {"tlsFingerprint": None}}] * 2
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


async def test_an_extension_sees_every_request(world: World) -> None:
    """Plans do what our own extensions would do: with another one, there are none."""
    seen: list[str | None] = []

    class Watching(SchemaExtension):
        def on_operation(self) -> Iterator[None]:
            seen.append(self.execution_context.query)
            yield

    schema = Schema(introspection=True, extensions=[Watching])
    for _ in range(3):
        await schema.execute(READ, {"id": "a"}, world.context())
    assert seen == [READ] * 3


async def test_schemas_share_no_documents(world: World) -> None:
    first, second = build_schema(), build_schema()
    await first.execute(READ, {"id": "a"}, world.context())
    assert plans_of(first)._documents.known(READ)
    assert not plans_of(second)._documents.known(READ)


INTROSPECTION = get_introspection_query()


async def test_an_introspection_is_run_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await world.schema.execute(INTROSPECTION, {}, world.context())
    monkeypatch.setattr(Executor, "build", None)  # graphql-core has no part in it any more
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
