"""The schema as a document: described throughout, deprecated with a date, and no client of the last release broken."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import (
    GraphQLSchema,
    build_schema,
    find_breaking_changes,
    is_enum_type,
    is_input_object_type,
    is_object_type,
)
from graphql.type import GraphQLNamedType

FOLDER = Path(__file__).parent.parent / "schema"
BUILT_IN = ("__", "String", "Int", "Float", "Boolean", "ID")
DATE = re.compile(r"\b20\d\d-[01]\d-[0-3]\d\b")


def schema_of(name: str) -> GraphQLSchema:
    return build_schema((FOLDER / name).read_text())


def elements(schema: GraphQLSchema) -> Iterator[tuple[str, str | None, str | None]]:
    """Every type, field, argument and value: its name, description and reason of deprecation."""
    for kind in schema.type_map.values():
        if not kind.name.startswith(BUILT_IN):
            yield kind.name, kind.description, None
            yield from _parts(kind)


def _parts(kind: GraphQLNamedType) -> Iterator[tuple[str, str | None, str | None]]:
    if is_enum_type(kind):
        for name, value in kind.values.items():
            yield f"{kind.name}.{name}", value.description, value.deprecation_reason
    if is_object_type(kind) or is_input_object_type(kind):
        for name, field in kind.fields.items():
            yield f"{kind.name}.{name}", field.description, field.deprecation_reason
            for argument, slot in getattr(field, "args", {}).items():
                yield f"{kind.name}.{name}({argument})", slot.description, slot.deprecation_reason


def undescribed(schema: GraphQLSchema) -> list[str]:
    """What says nothing beyond its name."""
    return [name for name, description, _ in elements(schema) if not description or description == name]


def undated(schema: GraphQLSchema) -> list[str]:
    """What is deprecated without the day until which it works."""
    return [name for name, _, reason in elements(schema) if reason is not None and not DATE.search(reason)]


def test_everything_is_described() -> None:
    schema = schema_of("schema.graphql")
    assert len(list(elements(schema))) > 100
    assert undescribed(schema) == []


def test_what_is_deprecated_tells_until_when_it_works() -> None:
    assert undated(schema_of("schema.graphql")) == []


def test_no_client_of_the_last_release_is_broken() -> None:
    """A release copies `schema.graphql` to `released.graphql`: see HACKING.md."""
    broken = find_breaking_changes(schema_of("released.graphql"), schema_of("schema.graphql"))
    assert [change.description for change in broken] == []


def test_the_checks_find_what_they_look_for() -> None:
    old = build_schema("type Query { a: Int b(c: Int): String }")
    new = build_schema('"D" type Query { a: String @deprecated(reason: "Use b.") "E" b(c: Int!): String }')
    assert len(find_breaking_changes(old, new)) == 2
    assert undescribed(new) == ["Query.a", "Query.b(c)"]
    assert undescribed(build_schema('"Query" type Query { "D" a: Int }')) == ["Query"]
    assert undated(new) == ["Query.a"]


@pytest.mark.parametrize("name", ["schema.graphql", "released.graphql"])
def test_both_are_schemas(name: str) -> None:
    assert schema_of(name).query_type
