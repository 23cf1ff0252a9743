"""Turns pydantic's validation errors into `Problem`s, without repeating a value of the input."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cache
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from models.errors import ErrorCode, FieldPath, Problem, Refused, shortened

_SENTENCES = {
    "missing": (ErrorCode.REQUIRED, "is required"),
    "extra_forbidden": (ErrorCode.INVALID, "is not a known field: check its spelling, or leave it out"),
    "string_type": (ErrorCode.INVALID, "must be a string"),
    "string_too_long": (ErrorCode.TOO_LONG, "must have at most {max_length} characters"),
    "bool_type": (ErrorCode.INVALID, "must be true or false"),
    "int_type": (ErrorCode.INVALID, "must be a whole number"),
    "greater_than_equal": (ErrorCode.INVALID, "must be at least {ge}"),
    "less_than_equal": (ErrorCode.INVALID, "must be at most {le}"),
    "too_long": (ErrorCode.TOO_LONG, "must have at most {max_length} entries"),
    "model_type": (ErrorCode.INVALID, "must be an object"),
    "list_type": (ErrorCode.INVALID, "must be a list"),
    "timezone_aware": (ErrorCode.INVALID, "must name its time zone, such as 2030-01-31T12:00:00Z"),
    "enum": (ErrorCode.INVALID, "must be one of {expected}"),
}


class Input(BaseModel):
    """An input of the API: camelCase outside, snake_case inside, and no field that it does not know."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, hide_input_in_errors=True)


InputT = TypeVar("InputT", bound=Input)
Examined = tuple[InputT | None, list[Problem]]
MAX_INPUT_KEYS = 100
MAX_INPUT_DEPTH = 3


def names_of(model: type[Input], *, but: Collection[str] = ()) -> dict[str, str]:
    """Returns the names of the fields, each with its name in the API."""
    return {name: info.alias or name for name, info in model.model_fields.items() if name not in but}


def patch_of(model: type[InputT], name: str, description: str, /, **replaced: object) -> type[InputT]:
    """Makes an input type with the fields of `model`, all of them optional except those in `replaced`."""
    fields = {
        field: (Annotated[info.annotation | None, Field(description=info.description)], None)  # type: ignore[operator]
        for field, info in model.model_fields.items()
    }
    fields.update(replaced)  # type: ignore[arg-type]
    return create_model(name, __base__=Input, __doc__=description, **fields)  # type: ignore[call-overload, no-any-return]


def examine(model: type[InputT], values: Mapping[str, Any], *path: str) -> Examined[InputT]:
    """Returns the validated input, or its problems without regard to stored values. `path` leads to `values`."""
    if _has_too_many_keys(values):
        return None, [Problem(ErrorCode.INVALID, f"An object may have at most {MAX_INPUT_KEYS} fields.", path)]
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        return None, [_make_problem(details, path) for details in error.errors(include_url=False)]


def validated(model: type[InputT], values: Mapping[str, Any], *path: str) -> InputT:
    """Returns the validated input. Raises Refused with every problem."""
    found, problems = examine(model, values, *path)
    if found is None:
        raise Refused(problems)
    return found


def validated_value(model: type[Input], name: str, value: object) -> object:
    """Validates `value` as the field `name`; returns None if it is invalid."""
    try:
        return _make_adapter(model, name).validate_python(value)
    except ValidationError:
        return None


def as_far_as_valid(model: type[InputT], values: Mapping[str, Any]) -> InputT:
    """Returns the valid fields of an input that is invalid as a whole, so that these can be checked further.

    An invalid field counts as left out; without a default, the returned object lacks the attribute.
    """
    found: dict[str, Any] = {}
    for name, outside in names_of(model).items():
        if outside in values:
            with suppress(ValidationError):
                found[outside] = _validate_part(model, name, values[outside])
    return model.model_construct(**found)  # type: ignore[return-value]


def _validate_part(model: type[Input], name: str, value: object) -> object:
    """Validates the value; of an object, returns the valid fields. Raises ValidationError."""
    nested = _nested_type(model, name)
    if nested and isinstance(value, Mapping):
        return as_far_as_valid(nested, value)
    return _make_adapter(model, name).validate_python(value)


@cache
def _nested_type(model: type[Input], name: str) -> type[Input] | None:
    """Returns the input type of the field, if it is an object."""
    annotation = model.model_fields[name].annotation
    parts = [part for part in (annotation, *get_args(annotation)) if isinstance(part, type) and issubclass(part, Input)]
    return parts[0] if parts else None


def sentence(path: FieldPath, rest: str) -> str:
    """Returns a message that names the field: `smtp.port must be ...`."""
    return f"{'.'.join(path[1:] if path[:1] == ('input',) else path)} {rest}."


def _has_too_many_keys(values: Mapping[str, Any], depth: int = MAX_INPUT_DEPTH) -> bool:
    """Whether an object in the input has too many keys, at any depth at which inputs are nested."""
    if len(values) > MAX_INPUT_KEYS:
        return True
    nested = [value for value in values.values() if isinstance(value, dict)] if depth > 1 else []
    return any(_has_too_many_keys(value, depth - 1) for value in nested)


@cache
def _make_adapter(model: type[Input], name: str) -> TypeAdapter[Any]:
    field = model.model_fields[name]
    return TypeAdapter(Annotated[field.annotation, *field.metadata, Field()])  # type: ignore[arg-type]


def _make_problem(details: ErrorDetails, path: FieldPath) -> Problem:
    field = (*path, *(shortened(str(part)) for part in details["loc"]))
    context = details.get("ctx", {})
    if details["type"] == "refused":
        code, rest = context["code"], context["message"]
    elif details["input"] is None and details["type"] != "extra_forbidden":
        code, rest = _SENTENCES["missing"]
    else:
        code, rest = _SENTENCES.get(details["type"], (ErrorCode.INVALID, "is not valid"))
    return Problem(code, sentence(field, rest.format_map(context)), field)
