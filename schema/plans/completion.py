"""Completes values by functions that are written for one operation (GraphQL, 6.4.3). Knows no field by name.

A function reads the attributes of a source, and takes only what is of exactly the right type, so that nothing is left
to be coerced. It raises where it finds anything else: graphql-core then completes the value, and says what is wrong.
This is what the function of a selection set looks like::

    def complete_2(source):
        v0 = source.server
        if type(v0) is not str: raise NotPlain
        v1 = source.port
        if type(v1) is not int or not -2147483648 <= v1 <= 2147483647: raise NotPlain
        return {'server': v0, 'port': v1}
"""

from collections.abc import Callable
from math import isfinite
from typing import Any, NamedTuple

from graphql import (
    GRAPHQL_MAX_INT,
    GRAPHQL_MIN_INT,
    Executor,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLError,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLString,
)
from graphql.execution.collect_fields import FieldDetailsList
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from schema.plans.plain import NotPlain

Complete = Callable[[Any], Any]

MAX_FIELDS = 500
"""How many fields the functions of one operation read: fragments can make a short document a large one."""

TYPENAME = "__typename"


class _Value(NamedTuple):
    """How a value, which is not null, is completed. `{v}` stands for it."""

    is_odd: str
    """Whether it is anything else than what is expected."""
    result: str = "{v}"


_LEAVES = {
    GraphQLString: _Value("type({v}) is not str"),
    GraphQLID: _Value("type({v}) is not str"),
    GraphQLBoolean: _Value("type({v}) is not bool"),
    GraphQLInt: _Value(f"type({{v}}) is not int or not {GRAPHQL_MIN_INT} <= {{v}} <= {GRAPHQL_MAX_INT}"),
    GraphQLFloat: _Value("type({v}) is not float or not isfinite({v})"),
}


class Completion:
    """Gathers the source of an operation's functions, and then makes them."""

    def __init__(self, executor: Executor[Any]) -> None:
        self._executor = executor
        self._lines: list[str] = []
        self._fields = 0
        self._names: dict[str, Any] = {"NotPlain": NotPlain, "isfinite": isfinite}

    def add(self, kind: GraphQLOutputType, details: FieldDetailsList) -> str:
        """The name of a function that completes values of this type. Raises NotPlain where there can be none."""
        body, result = self._read(kind, details, "value")
        return self._function("value", body, result)

    def functions(self) -> dict[str, Complete]:
        """Every function by its name. They raise whatever they find where a value is not plain."""
        # Nothing of the document is in the source but the keys of the answer, which are names, and quoted.
        exec("\n".join(self._lines), self._names)  # noqa: S102
        return self._names

    def _function(self, parameter: str, body: list[str], result: str) -> str:
        name = self._name("complete")
        self._lines += [f"def {name}({parameter}):", *(f"    {line}" for line in body), f"    return {result}"]
        return name

    def _name(self, what: str, value: Any = None) -> str:
        name = f"{what}_{len(self._names)}"
        self._names[name] = value
        return name

    def _read(self, kind: GraphQLOutputType, details: FieldDetailsList, variable: str) -> tuple[list[str], str]:
        """The check of a variable, if it needs one, and the expression for what is made of it."""
        value = self._value(kind.of_type if isinstance(kind, GraphQLNonNull) else kind, details)
        is_odd, result = value.is_odd.format(v=variable), value.result.format(v=variable)
        if not isinstance(kind, GraphQLNonNull):
            is_odd = is_odd and f"{variable} is not None and ({is_odd})"
            result = result if result == variable else f"None if {variable} is None else {result}"
        return [f"if {is_odd}: raise NotPlain"] if is_odd else [], result

    def _value(self, kind: GraphQLOutputType, details: FieldDetailsList) -> _Value:
        if isinstance(kind, GraphQLList):
            return self._list(kind.of_type, details)
        if isinstance(kind, GraphQLObjectType):
            # None, which has no such attributes, raises by itself.
            return _Value("", f"{self._selections(kind, details)}({{v}})")
        if kind in _LEAVES:
            return _LEAVES[kind]
        if isinstance(kind, GraphQLEnumType):
            return self._enum(kind)
        return self._date_time(kind)

    def _list(self, kind: GraphQLOutputType, details: FieldDetailsList) -> _Value:
        check, result = self._read(kind, details, "item")
        if check:
            result = f"{self._function('item', check, result)}(item)"
        return _Value("type({v}) is not list and type({v}) is not tuple", f"[{result} for item in {{v}}]")

    def _enum(self, kind: GraphQLEnumType) -> _Value:
        wrapped = getattr(kind, "wrapped_cls", None)
        if wrapped is None:
            raise NotPlain
        members = self._name("names", {})
        for member in wrapped:
            try:
                self._names[members][member] = kind.coerce_output_value(member)
            except (GraphQLError, ValueError):
                continue  # it stays inside
        return _Value(f"type({{v}}) is not {self._name('enum', wrapped)}", f"{members}[{{v}}]")

    def _date_time(self, kind: GraphQLOutputType) -> _Value:
        if not isinstance(kind, GraphQLLeafType) or kind.name != "DateTime":
            raise NotPlain
        # It raises, as it does for graphql-core, where it is given anything else.
        return _Value("", f"{self._name('serialize', kind.coerce_output_value)}({{v}})")

    def _selections(self, kind: GraphQLObjectType, details: FieldDetailsList) -> str:
        """The name of a function that completes an object of this type."""
        if kind.is_type_of:
            raise NotPlain
        body: list[str] = []
        results: list[str] = []
        for key, found in self._executor.collect_subfields(kind, details).grouped_field_set.items():
            name = found[0].node.name.value
            if name == TYPENAME:
                results.append(f"{key!r}: {kind.name!r}")
                continue
            variable = f"v{len(results)}"
            check, result = self._read(kind.fields[name].type, found, variable)
            body += [f"{variable} = source.{self._attribute(kind, name)}", *check]
            results.append(f"{key!r}: {result}")
        if not body:
            raise NotPlain  # nothing would be seen of the source
        return self._function("source", body, f"{{{', '.join(results)}}}")

    def _attribute(self, kind: GraphQLObjectType, name: str) -> str:
        """The attribute that the field reads. Raises NotPlain where it does anything else."""
        definition = definition_of(kind.fields[name])
        if not definition.is_basic_field or definition.default_resolver is not getattr:
            raise NotPlain
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise NotPlain
        return definition.python_name


def definition_of(field: GraphQLField) -> StrawberryField:
    """What strawberry knows of the field. Raises NotPlain where that is nothing."""
    definition = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if not isinstance(definition, StrawberryField):
        raise NotPlain
    return definition
