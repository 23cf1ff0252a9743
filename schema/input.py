"""Makes GraphQL input types of the inputs in `models`, and hands what was sent to the resolver as it was sent.

Nothing is validated on the way beyond what GraphQL's own types ask: the resolver asks for permission first, and then
reports every problem at once, those with what is stored included.
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
    """Makes the model an input type, for the fields of other inputs."""
    _define(model, name, model.__doc__ or "")


def input_of(model: type[Input], without: Collection[str] = ()) -> Callable[[type[_Values]], type[_Values]]:
    """Makes a dict class the input type with the fields of `model`: an argument of it holds the values that were sent.

    Values are keyed by their GraphQL names; a field that was left out is not there.
    """

    def decorate(values: type[_Values]) -> type[_Values]:
        definition = _define(model, values.__name__, values.__doc__ or "")
        definition.fields = [field for field in definition.fields if field.python_name not in without]
        values.__strawberry_definition__ = dataclasses.replace(  # type: ignore[attr-defined]
            definition, origin=values, from_input=_as_sent
        )
        return values

    return decorate


def _as_sent(kind: type, sent: Mapping[str, Any], _context: object) -> Any:
    return kind(sent)


def _define(model: type[Input], name: str, description: str) -> StrawberryObjectDefinition:
    decorated: Any = strawberry.pydantic.input(model, name=name, description=" ".join(description.split()))
    definition: StrawberryObjectDefinition = decorated.__strawberry_definition__
    for field in definition.fields:
        _name_ids(model, field)
    return definition


def _name_ids(model: type[Input], field: StrawberryField) -> None:
    if field.python_name == "id":
        required = model.model_fields["id"].is_required()
        field.type_annotation = StrawberryAnnotation(strawberry.ID if required else strawberry.ID | None)
