"""Makes the plans of plain operations, and keeps them. Knows no field by name, and runs nothing.

What is selected, and what resolvers are told, is asked of graphql-core's own executor, so that it can't be another.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any

import strawberry
from cachetools import LRUCache
from graphql import (
    DocumentNode,
    Executor,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLObjectType,
    OperationDefinitionNode,
    Undefined,
    default_field_resolver,
    default_type_resolver,
    get_operation_ast,
)
from graphql.execution.collect_fields import FieldDetailsList, FragmentDetails, collect_fields
from graphql.execution.values import VariableValues
from graphql.pyutils import Path
from graphql.utilities.coerce_input_value import coerce_default_value
from strawberry.execution import optimized_is_awaitable
from strawberry.types.arguments import convert_argument
from strawberry.types.base import StrawberryOptional
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.graphql import OperationType

from schema.http.extensions import CACHED_DOCUMENTS, DocumentCache
from schema.http.observation import name_of
from schema.plans.coercion import Variables, arguments_of
from schema.plans.completion import TYPENAME, Completion, definition_of
from schema.plans.plain import NotPlain
from schema.plans.plan import Info, Plan, RootField

_NO_VARIABLES = VariableValues({}, {})
_LEAVES = (str, int, bool, strawberry.ID)


class Plans:
    """The plans of a schema's operations. One is made when its document comes for the second time."""

    def __init__(self, schema: strawberry.Schema, documents: DocumentCache) -> None:
        self._schema = schema
        self._documents = documents
        self._plans: LRUCache[tuple[str, str | None], Plan | None] = LRUCache(CACHED_DOCUMENTS)

    def find(self, text: str, operation_name: str | None) -> Plan | None:
        """The plan of an operation; None where it is not plain, or its document is not known to be valid."""
        asked = (text, operation_name)
        if asked in self._plans:
            return self._plans[asked]
        document = self._documents.known(text)
        operation = get_operation_ast(document, operation_name) if document else None
        if document is None or operation is None:
            return None
        self._plans[asked] = plan = self._made(text, document, operation)
        return plan

    def _made(self, text: str, document: DocumentNode, operation: OperationDefinitionNode) -> Plan | None:
        if "@" in text:
            return None  # a document of the cache holds no strings: that is a directive, or in a comment
        try:
            return _planned(self._schema, document, operation)
        except NotPlain:
            return None


def _planned(schema: strawberry.Schema, document: DocumentNode, operation: OperationDefinitionNode) -> Plan:
    """The plan of an operation of a valid document without directives."""
    kind, root = OperationType(operation.operation.value), schema._schema.get_root_type(operation.operation)
    if kind is OperationType.SUBSCRIPTION or root is None:
        raise NotPlain
    executor = _executor(schema, document, operation)
    groups = collect_fields(schema._schema, executor.fragments, _NO_VARIABLES, root, operation).grouped_field_set
    fields = {key: details for key, details in groups.items() if details[0].node.name.value != TYPENAME}
    if not fields or any(details[0].node.name.value not in root.fields for details in fields.values()):
        raise NotPlain  # introspection
    return Plan(
        name_of(document, operation),
        kind,
        schema,
        document,
        operation,
        Variables(schema._schema, operation),
        tuple(_root_fields(schema, executor, root, fields)),
        {key: None if key in fields else root.name for key in groups},
    )


def _executor(schema: strawberry.Schema, document: DocumentNode, operation: OperationDefinitionNode) -> Executor[Any]:
    """What would execute the operation."""
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    return schema.execution_context_class(
        schema=schema._schema,
        fragment_definitions=fragments,
        fragments={name: FragmentDetails(fragment) for name, fragment in fragments.items()},
        root_value=None,
        context_value=None,
        operation=operation,
        variable_values=_NO_VARIABLES,
        field_resolver=default_field_resolver,
        type_resolver=default_type_resolver,
        subscribe_field_resolver=default_field_resolver,
        is_awaitable=optimized_is_awaitable,  # type: ignore[arg-type]
    )


def _root_fields(
    schema: strawberry.Schema, executor: Executor[Any], root: GraphQLObjectType, groups: Mapping[str, FieldDetailsList]
) -> Iterator[RootField]:
    definitions = {key: root.fields[details[0].node.name.value] for key, details in groups.items()}
    completion = Completion(executor)
    names = {key: completion.add(definitions[key].type, details) for key, details in groups.items()}
    functions = completion.functions()
    for key, details in groups.items():
        field, nodes, path = definitions[key], [one.node for one in details], Path(None, key, root.name)
        info = executor.build_resolve_info(field, nodes, root, path)
        resolve = _resolver(schema, field, {argument.name.value for argument in nodes[0].arguments or ()})
        yield RootField(key, info, arguments_of(field, nodes[0]), resolve, functions[names[key]])


def _resolver(
    schema: strawberry.Schema, field: GraphQLField, named: Collection[str]
) -> Callable[[Info, dict[str, Any]], Awaitable[Any]]:
    """What calls the resolver as strawberry does, with arguments that are coerced.

    The default of an argument that the document leaves out is converted once: resolvers only read what they are given.
    """
    definition = definition_of(field)
    base = definition.base_resolver
    if base is None or definition.extensions or not base.is_async:
        raise NotPlain
    if base.self_parameter or base.parent_parameter or base.root_parameter:
        raise NotPlain
    resolve: Any = base.wrapped_func
    asked, config = base.info_parameter, schema.config
    registry = schema.schema_converter.scalar_registry
    slots = [
        (config.name_converter.from_argument(one), one.python_name, one.type, _is_leaf(one.type))
        for one in definition.arguments
    ]
    defaults = {
        name: convert_argument(value, kind, registry, config, None, path=(name,))
        for name, _, kind, is_leaf in slots
        if not (is_leaf or name in named) and (value := coerce_default_value(field.args[name])) is not Undefined
    }

    def resolved(raw: Info, given: dict[str, Any]) -> Any:
        info, values = config.info_class(_raw_info=raw, _field=definition), {}
        for name, python_name, kind, is_leaf in slots:
            if name in given:
                value = defaults.get(name, given[name])
                if not is_leaf and name not in defaults:
                    value = convert_argument(value, kind, registry, config, info, path=(name,))
                values[python_name] = value
        if asked:
            values[asked.name] = info
        return resolve(**values)

    return resolved


def _is_leaf(kind: Any) -> bool:
    """Whether strawberry hands a value of the type on as it is."""
    kind = kind.of_type if type(kind) is StrawberryOptional else kind
    return kind in _LEAVES or isinstance(kind, StrawberryEnumDefinition)
