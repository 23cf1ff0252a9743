"""Random operations for a schema, their variables, and objects that resolvers could return."""

import math
from collections.abc import Generator
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum
from random import Random
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    OperationType,
    get_named_type,
)

MAX_FIELDS = 40
MAX_LISTED = 3
DEPTH = 6


class Writer:
    """Writes one operation without string literals, because a document with one is not cached."""

    def __init__(self, schema: GraphQLSchema, random: Random) -> None:
        self._schema = schema
        self._random = random
        self._resolvers = random.choice([0, 0.2, 0.5])  # the share of fields below the root with a resolver
        self._fields = MAX_FIELDS
        self._fragments: list[str] = []
        self._variables: list[str] = []
        self._arguments: dict[str, str] = {}
        self.sent: dict[str, Any] = {}

    def document(self, *kinds: OperationType) -> str:
        """Returns a document with an operation of one of these kinds."""
        kind = self._random.choice(kinds)
        root = self._schema.get_root_type(kind)
        assert root
        # A subscription selects one field.
        body = (
            f"{{ {self._field(root, DEPTH)} }}" if kind is OperationType.SUBSCRIPTION else self._selections(root, DEPTH)
        )
        variables = f"({', '.join(self._variables)})" if self._variables else ""
        if self._chance(0.1):
            self.sent["nobody"] = self._json()
        return "\n".join([f"{kind.value} Named{variables} {body}", *self._fragments])

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _selections(self, kind: GraphQLObjectType, depth: int) -> str:
        many = self._random.randint(1, 2 if depth == DEPTH else 5)
        return f"{{ {' '.join(self._selection(kind, depth) for _ in range(many))} }}"

    def _selection(self, kind: GraphQLObjectType, depth: int) -> str:
        roll = self._random.random()
        if roll < 0.08:
            return self._random.choice(["__typename", "kind: __typename"])
        if roll < 0.16 and depth:
            return f"... {self._random.choice(['', f'on {kind.name}'])} {self._selections(kind, depth - 1)}"
        if roll < 0.24 and depth:
            name = f"F{len(self._fragments)}"
            self._fragments.append("")
            self._fragments[int(name[1:])] = f"fragment {name} on {kind.name} {self._selections(kind, depth - 1)}"
            return f"...{name} ...{name}" if self._chance(0.3) else f"...{name}"
        return self._field(kind, depth)

    def _field(self, kind: GraphQLObjectType, depth: int) -> str:
        self._fields -= 1
        names = [name for name, field in kind.fields.items() if self._is_selectable(kind, field, depth)]
        if not names:
            return "__typename"
        name = self._random.choice(names)
        field = kind.fields[name]
        alias, arguments = self._alias(name), ""
        if field.args:
            key = f"{kind.name}.{alias}{name}"
            arguments = self._arguments.get(key) or self._write_arguments(field)
            self._arguments[key] = arguments
        directive = self._random.choice([" @skip(if: false)", " @include(if: true)"]) if self._chance(0.01) else ""
        below = get_named_type(field.type)
        inner = self._selections(below, depth - 1) if isinstance(below, GraphQLObjectType) else ""
        return f"{alias}{name}{arguments}{directive} {inner}"

    def _is_selectable(self, kind: GraphQLObjectType, field: GraphQLField, depth: int) -> bool:
        if isinstance(get_named_type(field.type), GraphQLObjectType) and (depth <= 0 or self._fields <= 0):
            return False
        is_root = kind in (self._schema.get_root_type(one) for one in OperationType)
        return is_root or field.extensions["strawberry-definition"].is_basic_field or self._chance(self._resolvers)

    def _alias(self, name: str) -> str:
        return f"{name}_{self._random.randint(1, 2)}: " if self._chance(0.2) else ""

    def _write_arguments(self, field: GraphQLField) -> str:
        given = []
        for name, argument in field.args.items():
            required = isinstance(argument.type, GraphQLNonNull) and str(argument.default_value) == "Undefined"
            if required or self._chance(0.5):
                given.append(f"{name}: {self._argument(argument.type)}")
        return f"({', '.join(given)})" if given else ""

    def _argument(self, kind: Any, depth: int = 2) -> str:
        literal = self._literal(kind, depth) if self._chance(0.4) else None
        return literal or self._variable(kind)

    def _variable(self, kind: Any) -> str:
        name = f"v{len(self._variables)}"
        literal = self._literal(kind, 0) if self._chance(0.2) else None
        declared = f"{kind}!" if self._chance(0.2) and not isinstance(kind, GraphQLNonNull) else str(kind)
        self._variables.append(f"${name}: {declared}{f' = {literal}' if literal else ''}")
        if not self._chance(0.04):
            self.sent[name] = self.value(kind)
        return f"${name}"

    def _literal(self, kind: Any, depth: int) -> str | None:
        """Returns a literal of the type, with variables if depth remains; None if it would contain a string."""
        if not isinstance(kind, GraphQLNonNull) and self._chance(0.1):
            return "null"
        kind = getattr(kind, "of_type", kind) if isinstance(kind, GraphQLNonNull) else kind
        if isinstance(kind, GraphQLList):
            items = [self._literal(kind.of_type, depth) for _ in range(self._random.randint(0, 2))]
            return None if None in items else f"[{', '.join(map(str, items))}]"
        if isinstance(kind, GraphQLEnumType):
            return str(self._random.choice(list(kind.values)))
        if isinstance(kind, GraphQLInputObjectType):
            return self._object_literal(kind, depth)
        of_name: dict[str, str] = {"Int": str(self._random.randint(-5, 200)), "Boolean": "true", "ID": "7"}
        return of_name.get(kind.name)

    def _object_literal(self, kind: GraphQLInputObjectType, depth: int) -> str | None:
        fields = []
        for name, field in kind.fields.items():
            if not isinstance(field.type, GraphQLNonNull) and self._chance(0.6):
                continue
            value = self._argument(field.type, depth - 1) if depth else self._literal(field.type, 0)
            if value is None:
                return None
            fields.append(f"{name}: {value}")
        return f"{{{', '.join(fields)}}}"

    def value(self, kind: Any) -> Any:
        """Returns a value that a client could send for the type, usually a valid one."""
        if self._chance(0.01):
            return self._json()
        if not isinstance(kind, GraphQLNonNull):
            return None if self._chance(0.1) else self._value_of_type(kind)
        return self._value_of_type(kind.of_type)

    def _value_of_type(self, kind: Any) -> Any:
        if isinstance(kind, GraphQLList):
            items = [self.value(kind.of_type) for _ in range(self._random.randint(0, MAX_LISTED))]
            return items[0] if items and self._chance(0.1) else items
        if isinstance(kind, GraphQLEnumType):
            return self._random.choice(list(kind.values))
        if isinstance(kind, GraphQLInputObjectType):
            more = {"nobody": 1} if self._chance(0.02) else {}
            return more | {name: self.value(field.type) for name, field in kind.fields.items() if self._is_given(field)}
        of_name = {
            "Int": self._random.randint(-5, 200),
            "Boolean": self._chance(0.5),
            "DateTime": "2030-01-31T12:00:00+02:00",
            "Float": self._random.random(),
        }
        return of_name.get(kind.name, f"text {self._random.randint(0, 9)}")

    def _is_given(self, field: Any) -> bool:
        return self._chance(0.99 if isinstance(field.type, GraphQLNonNull) else 0.5)

    def _json(self) -> Any:
        values: list[Any] = [None, True, 0, 2**31, 2**70, 1.0, 1.5, "", "NAME", "x", [], ["x"], {}, {"id": 1}, [{}]]
        return self._random.choice(values)


class _Text(str):
    __slots__ = ()


class _Number(IntEnum):
    ONE = 1


class _Later:
    """An awaitable."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __str__(self) -> str:
        return "later"

    def __await__(self) -> Generator[None, None, Any]:
        yield
        return self._value


class Source:
    """An object of a type, with the attributes that its fields read, determined by the seed."""

    def __init__(self, kind: GraphQLObjectType, seed: str, oddness: float) -> None:
        self._kind = kind
        self._seed = seed
        self._oddness = oddness

    def resolved(self, field: str) -> Any:
        """Returns the result of a field's resolver."""
        return value_of(self._kind.fields[field].type, f"{self._seed}.{field}", self._oddness)

    def __getattr__(self, attribute: str) -> Any:
        for name, field in self._kind.fields.items():
            if field.extensions["strawberry-definition"].python_name == attribute:
                return self.resolved(name)
        raise AttributeError(attribute)


def value_of(kind: Any, seed: str, oddness: float) -> Any:
    """Returns a value that a resolver could return for the type, usually a valid one."""
    random = Random(seed)
    if random.random() < oddness:
        return _odd_value(kind, random, seed, oddness)
    return _valid_value(kind, random, seed, oddness)


def _valid_value(kind: Any, random: Random, seed: str, oddness: float) -> Any:
    if isinstance(kind, GraphQLNonNull):
        kind = kind.of_type
    elif random.random() < 0.2:
        return None
    if isinstance(kind, GraphQLList):
        items = [value_of(kind.of_type, f"{seed}.{place}", oddness) for place in range(random.randint(0, MAX_LISTED))]
        return random.choice([items, tuple(items)])
    if isinstance(kind, GraphQLObjectType):
        return Source(kind, seed, oddness)
    if isinstance(kind, GraphQLEnumType):
        return random.choice(list(kind.wrapped_cls))  # type: ignore[attr-defined]
    zone = random.choice([UTC, timezone(timedelta(hours=2))])
    of_name = {
        "Int": random.choice([0, -(2**31), 2**31 - 1]),
        "Boolean": random.random() < 0.5,
        "DateTime": datetime(2026, 1, 2, 3, 4, 5, random.choice([0, 999, 678_900]), zone),
        "Float": random.random(),
    }
    return of_name.get(kind.name, random.choice(["", "text", "\ud800"]))


def _odd_value(kind: Any, random: Random, seed: str, oddness: float) -> Any:
    right = _valid_value(kind, random, seed, oddness)
    made = random.randrange(18)
    if made == 0:
        raise RuntimeError("broken")
    if made == 1:
        return _Later(right)
    if made == 2 and isinstance(right, list | tuple):
        return random.choice([iter(right), dict.fromkeys(range(len(right))), "text"])
    values = [None, _Text("text"), "nobody", 2**31, 2**70, 1.5, math.nan, True, _Number.ONE, [], (), {}, object(), b"x"]
    return random.choice([*values, datetime(2026, 1, 2), RuntimeError("returned")])  # noqa: DTZ001 - odd on purpose
