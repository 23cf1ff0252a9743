"""Turns input models into GraphQL input types, and passes their values to resolvers unvalidated.

Only GraphQL's own type checks apply here: the resolver checks the permission first, and then reports all problems at
once, including conflicts with stored data.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import strawberry
from strawberry.annotation import StrawberryAnnotation
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from models.validation import Input

_Values = TypeVar("_Values", bound=dict[str, Any])


def nested_input(model: type[Input], name: str) -> None:
    """Turns the model into an input type, for fields of other input types."""
    _define(model, name, model.__doc__ or "")


def input_of(model: type[Input], without: Collection[str] = ()) -> Callable[[type[_Values]], type[_Values]]:
    """Turns a dict class into an input type with the fields of `model`. Arguments of it hold the client's values.

    Keys are the GraphQL names; omitted fields are absent.
    """

    def decorate(values: type[_Values]) -> type[_Values]:
        definition = _define(model, values.__name__, values.__doc__ or "")
        definition.fields = [field for field in definition.fields if field.python_name not in without]
        values.__strawberry_definition__ = dataclasses.replace(  # type: ignore[attr-defined]
            definition, origin=values, from_input=_keep_values
        )
        return values

    return decorate


def _keep_values(kind: type, sent: Mapping[str, Any], _context: object) -> Any:
    return kind(sent)


def _define(model: type[Input], name: str, description: str) -> StrawberryObjectDefinition:
    decorated: Any = strawberry.pydantic.input(model, name=name, description=" ".join(description.split()))
    definition: StrawberryObjectDefinition = decorated.__strawberry_definition__
    for field in definition.fields:
        _use_id_type(model, field)
    return definition


def _use_id_type(model: type[Input], field: StrawberryField) -> None:
    if field.python_name == "id":
        required = model.model_fields["id"].is_required()
        field.type_annotation = StrawberryAnnotation(strawberry.ID if required else strawberry.ID | None)
