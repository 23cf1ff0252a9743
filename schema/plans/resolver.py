"""Calls the resolver of a root field as strawberry does, without what its wrapper adds to each call."""

from collections.abc import Awaitable, Callable
from typing import Any

import strawberry
from graphql import FieldNode, GraphQLField, GraphQLResolveInfo, print_ast
from graphql.execution.values import VariableValues, get_argument_values
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import convert_argument
from strawberry.types.base import StrawberryOptional
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.field import StrawberryField
from strawberry.utils.await_maybe import await_maybe

Resolve = Callable[[GraphQLResolveInfo[Any], VariableValues], Awaitable[Any]]
Arguments = dict[str, Any]

NO_VARIABLES = VariableValues({}, {})
_LEAVES = (str, int, bool, strawberry.ID)


def compile_resolver(schema: strawberry.Schema, field: GraphQLField, node: FieldNode) -> Resolve:
    """Prepares the call of a resolver. Constant arguments are converted once.

    strawberry's own wrapper is called for all but coroutine functions that need neither a parent nor extensions.
    """
    definition: Any = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    base = definition.base_resolver if isinstance(definition, StrawberryField) and not definition.extensions else None
    if base is None or not base.is_async or base.self_parameter or base.parent_parameter or base.root_parameter:
        wrapper: Any = field.resolve
        return lambda info, variables: await_maybe(wrapper(None, info, **get_argument_values(field, node, variables)))
    function: Any = base.wrapped_func
    convert, wanted = _converter(schema, definition), base.info_parameter
    constants = None if _may_differ(node) else convert(get_argument_values(field, node, NO_VARIABLES), None)

    def resolve(raw: GraphQLResolveInfo[Any], variables: VariableValues) -> Any:
        info: Any = schema.config.info_class(_raw_info=raw, _field=definition)
        values = convert(get_argument_values(field, node, variables), info) if constants is None else constants
        return function(**values, **{wanted.name: info}) if wanted else function(**values)

    return resolve


def _may_differ(node: FieldNode) -> bool:
    """Whether an argument holds a variable, or a list or an object, which a resolver could change for the next request.

    Also true for such a character in a string, which costs only time.
    """
    return any(set("$[{") & set(print_ast(argument)) for argument in node.arguments or ())


def _converter(schema: strawberry.Schema, definition: StrawberryField) -> Callable[[Arguments, Any], Arguments]:
    """Turns arguments as graphql-core coerces them into those of the resolver."""
    registry, name_of = schema.schema_converter.scalar_registry, schema.config.name_converter.from_argument
    slots = [(name_of(one), one.python_name, one.type, _is_leaf(one.type)) for one in definition.arguments]

    def convert(given: Arguments, info: Any) -> Arguments:
        return {
            python_name: given[name]
            if is_leaf
            else convert_argument(given[name], kind, registry, schema.config, info, path=(name,))
            for name, python_name, kind, is_leaf in slots
            if name in given
        }

    return convert


def _is_leaf(kind: Any) -> bool:
    """Whether strawberry passes a value of the type on unchanged."""
    kind = kind.of_type if type(kind) is StrawberryOptional else kind
    return kind in _LEAVES or isinstance(kind, StrawberryEnumDefinition)
