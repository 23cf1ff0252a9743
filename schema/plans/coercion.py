"""Coerces variables and arguments by what is known of them beforehand (GraphQL, 6.1.2 and 6.4.1). Knows no field.

Whatever is not obviously right raises: graphql-core then coerces the values, and says what is wrong with them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from graphql import (
    ArgumentNode,
    FieldNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    Undefined,
    VariableNode,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource, get_argument_values
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_literal

from schema.plans.plain import NotPlain

Coerce = Callable[[Any], Any]
Arguments = Callable[[VariableValues], dict[str, Any]]


class _Slot(NamedTuple):
    """A place for a value: a variable, or a field of an input object."""

    name: str
    out_name: str
    coerce: Coerce
    nullable: bool
    default: Any


class Variables:
    """The variables of an operation."""

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode) -> None:
        """Raises NotPlain."""
        found = [get_variable_signature(schema, node) for node in operation.variable_definitions or ()]
        self._signatures = [one for one in found if isinstance(one, GraphQLVariableSignature)]
        if len(self._signatures) < len(found) or any(_may_change(one) for one in self._signatures):
            raise NotPlain
        self._slots = [_slot(one.name, one.name, one) for one in self._signatures]

    def coerced(self, sent: Mapping[str, Any]) -> VariableValues:
        """The values of the variables. Raises NotPlain, and what the types raise, where one is not plain."""
        sources = {one.name: VariableValueSource(one, sent.get(one.name, Undefined)) for one in self._signatures}
        return VariableValues(sources, _coerced(self._slots, sent))


def arguments_of(field: GraphQLField, node: FieldNode) -> Arguments:
    """What coerces the arguments of the field. It raises NotPlain and GraphQLError."""
    given = {argument.name.value: argument for argument in node.arguments or ()}
    if not all(_is_simple(field.args[name], argument) for name, argument in given.items()):
        return lambda variables: get_argument_values(field, node, variables)
    constants: dict[str, Any] = {}
    named: list[tuple[str, str, Any, bool]] = []
    for name, argument in field.args.items():
        out_name, value = argument.out_name or name, coerce_default_value(argument)
        if name in given and isinstance(variable := given[name].value, VariableNode):
            named.append((out_name, variable.name.value, value, not isinstance(argument.type, GraphQLNonNull)))
            continue
        if name in given:
            value = coerce_input_literal(given[name].value, argument.type)
        if value is not Undefined:
            constants[out_name] = value
    return lambda variables: _arguments(constants, named, variables.coerced)


def _may_change(signature: GraphQLVariableSignature) -> bool:
    """Whether the default is a value that a resolver could change for the next request."""
    return signature.default is not None and isinstance(signature.default.literal, ListValueNode | ObjectValueNode)


def _is_simple(argument: GraphQLArgument, given: ArgumentNode) -> bool:
    """Whether the argument is given a variable, or a literal that makes one and the same value for ever."""
    if isinstance(given.value, VariableNode):
        return True
    kind = argument.type.of_type if isinstance(argument.type, GraphQLNonNull) else argument.type
    return not isinstance(kind, GraphQLList | GraphQLInputObjectType)


def _arguments(
    constants: dict[str, Any], named: Iterable[tuple[str, str, Any, bool]], variables: Mapping[str, Any]
) -> dict[str, Any]:
    arguments = constants.copy()
    for out_name, variable, default, nullable in named:
        value = variables.get(variable, default)
        if not nullable and (value is None or value is Undefined):
            raise NotPlain
        if value is not Undefined:
            arguments[out_name] = value
    return arguments


def _slot(
    name: str,
    out_name: str,
    slot: GraphQLVariableSignature | GraphQLInputField,
    above: tuple[GraphQLInputObjectType, ...] = (),
) -> _Slot:
    nullable = not isinstance(slot.type, GraphQLNonNull)
    return _Slot(name, out_name, _coercion(slot.type, above), nullable, coerce_default_value(slot))


def _coerced(slots: Iterable[_Slot], sent: Mapping[str, Any]) -> dict[str, Any]:
    coerced = {}
    for name, out_name, coerce, nullable, default in slots:
        value = sent.get(name, Undefined)
        if value is Undefined:
            if default is not Undefined:
                coerced[out_name] = default
            elif not nullable:
                raise NotPlain
        elif value is not None:
            coerced[out_name] = coerce(value)
        elif nullable:
            coerced[out_name] = None
        else:
            raise NotPlain
    return coerced


def _coercion(kind: GraphQLInputType, above: tuple[GraphQLInputObjectType, ...]) -> Coerce:
    """What coerces a value of the type that is not null."""
    if isinstance(kind, GraphQLNonNull):
        kind = kind.of_type
    if isinstance(kind, GraphQLList):
        return _list(kind, above)
    if isinstance(kind, GraphQLInputObjectType):
        return _object(kind, above)
    return kind.coerce_input_value


def _list(kind: GraphQLList[Any], above: tuple[GraphQLInputObjectType, ...]) -> Coerce:
    nullable, coerce = not isinstance(kind.of_type, GraphQLNonNull), _coercion(kind.of_type, above)

    def coerced(sent: Any) -> list[Any]:
        if type(sent) is not list or (None in sent and not nullable):
            raise NotPlain
        return [None if value is None else coerce(value) for value in sent]

    return coerced


def _object(kind: GraphQLInputObjectType, above: tuple[GraphQLInputObjectType, ...]) -> Coerce:
    if kind.is_one_of or kind in above:
        raise NotPlain
    slots = [_slot(name, field.out_name or name, field, (*above, kind)) for name, field in kind.fields.items()]
    names = frozenset(kind.fields)

    def coerced(sent: Any) -> Any:
        if type(sent) is not dict or not sent.keys() <= names:
            raise NotPlain
        return kind.out_type(_coerced(slots, sent))

    return coerced
