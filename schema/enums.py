"""Turns enums of `models` into GraphQL enums."""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

import strawberry
from strawberry.types.enum import StrawberryEnumDefinition

_Values = TypeVar("_Values", bound=Enum)


def described_enum(
    enum: type[_Values], description: str, values: Mapping[_Values, str], name: str | None = None
) -> None:
    """Turns the enum into a GraphQL enum, with descriptions. Hides values without a description."""
    strawberry.enum(enum, name=name, description=description)
    definition: StrawberryEnumDefinition = enum.__strawberry_definition__  # type: ignore[attr-defined]
    for value in definition.values:
        value.description = values.get(enum[value.name])
    definition.values = [value for value in definition.values if value.description]
