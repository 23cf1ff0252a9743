"""Compiles selection sets into functions that complete their plain fields (GraphQL, 6.4.3).

A field is plain if it reads an attribute and its type is a scalar, an enum, an object whose selected fields are all
plain, or a list of these. The function of a selection set accepts only values of exactly the right type, so that
nothing needs coercion, and raises for any other. It looks like this, if `createdBy` has a resolver::

    def complete(source):
        v0 = source.name
        if type(v0) is not str: raise TypeError
        v1 = source.version
        if type(v1) is not int or not -2147483648 <= v1 <= 2147483647: raise TypeError
        return {'name': v0, 'createdBy': None, 'version': v1}
"""

from collections.abc import Callable
from functools import partial
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
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
    GraphQLString,
    Undefined,
)
from graphql.execution.collect_fields import FieldDetailsList, GroupedFieldSet
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

MAX_FIELDS = 500
"""Fields that the functions of one document read: fragments can make a short document a large one."""

TYPENAME = "__typename"


class CannotCompile(Exception):
    """No field of it is plain: graphql-core completes it."""


class Plan(NamedTuple):
    """One selection set, compiled.

    `complete` returns the data of a source object, with None for the fields in `left`, which graphql-core completes. It
    raises any exception if a value is not as expected.
    """

    complete: Callable[[Any], dict[str, Any]]
    left: GroupedFieldSet


FindPlan = Callable[[GraphQLObjectType, FieldDetailsList], Plan | None]


class PlanCache:
    """The plans of one document without directives, compiled when first needed."""

    def __init__(self) -> None:
        self._plans: dict[tuple[object, ...], Plan | None] = {}
        self._fields_left = MAX_FIELDS

    def find(self, executor: Executor[Any], kind: GraphQLObjectType, details: FieldDetailsList) -> Plan | None:
        """The plan of what these nodes of the document select of the type; None if no field is plain."""
        key = (kind, *[id(one.node) for one in details])
        if key not in self._plans:
            self._plans[key] = self._compile(executor, kind, details)
        return self._plans[key]

    def _compile(self, executor: Executor[Any], kind: GraphQLObjectType, details: FieldDetailsList) -> Plan | None:
        fields = executor.collect_subfields(kind, details).grouped_field_set
        self._fields_left -= len(fields)
        if self._fields_left < 0:
            return None
        try:
            return compile_plan(kind, fields, partial(self.find, executor))
        except CannotCompile:
            return None


def compile_plan(kind: GraphQLObjectType, fields: GroupedFieldSet, find: FindPlan) -> Plan:
    """Compiles the fields of a type; `find` finds the plans of their objects.

    Raises CannotCompile if no field is plain.
    """
    compiler = _Compiler(find)
    body = [_RAISE_ERRORS]
    results: list[str] = []
    left: GroupedFieldSet = {}
    for key, details in fields.items():
        result = "None"
        try:
            lines, result = compiler.field(kind, details, f"v{len(results)}")
            body += lines
        except CannotCompile:
            left[key] = details
        results.append(f"{key!r}: {result}")
    if body == [_RAISE_ERRORS]:
        raise CannotCompile
    return Plan(compiler.function("complete", "source", body, f"{{{', '.join(results)}}}"), left)


_RAISE_ERRORS = "if isinstance(source, Exception): raise TypeError"
"""A resolver may return an error instead of an object, and an error has attributes too."""


class _Value(NamedTuple):
    """The source code that completes a value that is not null. `{v}` stands for the value."""

    is_odd: str
    """An expression that is true for a value of another type."""
    result: str = "{v}"


_SCALARS = {
    GraphQLString: _Value("type({v}) is not str"),
    GraphQLID: _Value("type({v}) is not str"),
    GraphQLBoolean: _Value("type({v}) is not bool"),
    GraphQLInt: _Value(f"type({{v}}) is not int or not {GRAPHQL_MIN_INT} <= {{v}} <= {GRAPHQL_MAX_INT}"),
    GraphQLFloat: _Value("type({v}) is not float or not isfinite({v})"),
}


class _Compiler:
    """Writes the function of one selection set."""

    def __init__(self, find: FindPlan) -> None:
        self._find = find
        self._names: dict[str, Any] = {"isfinite": isfinite, "Undefined": Undefined}

    def function(self, name: str, parameter: str, body: list[str], result: str) -> Any:
        lines = [f"def {name}({parameter}):", *(f"    {line}" for line in body), f"    return {result}"]
        # Of the document, the source holds response keys only, which are names, and quoted.
        exec("\n".join(lines), self._names)  # noqa: S102
        return self._names[name]

    def field(self, kind: GraphQLObjectType, details: FieldDetailsList, variable: str) -> tuple[list[str], str]:
        """The lines that read a field into a variable, and the expression for its result."""
        name = details[0].node.name.value
        if name == TYPENAME:
            return [], repr(kind.name)
        field = kind.fields[name]
        check, result = self._read(field.type, details, variable)
        return [f"{variable} = source.{_attribute(field)}", *check], result

    def _read(self, kind: GraphQLOutputType, details: FieldDetailsList, variable: str) -> tuple[list[str], str]:
        """The check of a variable, if it needs one, and the expression for its result."""
        value = self._value(kind.of_type if isinstance(kind, GraphQLNonNull) else kind, details)
        is_odd, result = value.is_odd.format(v=variable), value.result.format(v=variable)
        if not isinstance(kind, GraphQLNonNull):
            is_odd = is_odd and f"{variable} is not None and ({is_odd})"
            result = result if result == variable else f"None if {variable} is None else {result}"
        return [f"if {is_odd}: raise TypeError"] if is_odd else [], result

    def _value(self, kind: GraphQLOutputType, details: FieldDetailsList) -> _Value:
        if kind in _SCALARS:
            return _SCALARS[kind]
        if isinstance(kind, GraphQLList):
            return self._list(kind.of_type, details)
        if isinstance(kind, GraphQLObjectType):
            return self._object(kind, details)
        if isinstance(kind, GraphQLEnumType):
            return self._enum(kind)
        if isinstance(kind, GraphQLScalarType):
            serialized = f"({{v}} := {self._name('serialize', kind.coerce_output_value)}({{v}}))"
            return _Value(f"{serialized} is None or {{v}} is Undefined")
        raise CannotCompile  # an interface or a union

    def _object(self, kind: GraphQLObjectType, details: FieldDetailsList) -> _Value:
        plan = None if kind.is_type_of else self._find(kind, details)
        if plan is None or plan.left:
            raise CannotCompile
        # None has no such attributes, and so raises.
        return _Value("", f"{self._name('complete', plan.complete)}({{v}})")

    def _list(self, kind: GraphQLOutputType, details: FieldDetailsList) -> _Value:
        check, result = self._read(kind, details, "item")
        if check:
            name = self._name("item")
            self.function(name, "item", check, result)
            result = f"{name}(item)"
        return _Value("type({v}) is not list and type({v}) is not tuple", f"[{result} for item in {{v}}]")

    def _enum(self, kind: GraphQLEnumType) -> _Value:
        wrapped = getattr(kind, "wrapped_cls", None)
        if wrapped is None:
            raise CannotCompile
        names = {}
        for member in wrapped:
            try:
                names[member] = kind.coerce_output_value(member)
            except (GraphQLError, ValueError):
                continue  # not a value of the API
        return _Value(f"type({{v}}) is not {self._name('enum', wrapped)}", f"{self._name('names', names)}[{{v}}]")

    def _name(self, what: str, value: Any = None) -> str:
        """A name in the functions that stands for the value."""
        name = f"{what}_{len(self._names)}"
        self._names[name] = value
        return name


def _attribute(field: GraphQLField) -> str:
    """The attribute that the field reads. Raises CannotCompile if it has a resolver."""
    definition = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if not isinstance(definition, StrawberryField) or not definition.is_basic_field:
        raise CannotCompile
    if definition.default_resolver is not getattr:
        raise CannotCompile
    return definition.python_name
