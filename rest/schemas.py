"""JSON Schemas of the REST bodies, generated from their Python types.

The body of a save is the input in `models/config.py`, under the REST field names.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core.core_schema import BoolSchema, IntSchema

from models.config import ImapConfig, InboxConfig, SmtpConfig
from models.oauth2 import OAuth2Config
from rest.parameters import READ_ONLY, READ_ONLY_OF_OAUTH2, READ_ONLY_OF_SERVER

REFERENCE = "#/components/schemas/{model}"
IGNORED = {"description": "Ignored, so that what was shown can be sent back."}
SPELLED_NUMBER = {"type": "string", "pattern": "^[+-]?[0-9]{1,15}$"}
SPELLED_BOOLEAN = {"type": "string", "enum": ["true", "false"]}

LOGIN_SCHEMA = {
    "description": "Who logs in, by one of three names, and the password.",
    "type": "object",
    "properties": {
        **{name: {"type": "string", "minLength": 1} for name in ("user", "username", "email")},
        "password": {"type": "string", "minLength": 1},
    },
    "required": ["password"],
    "anyOf": [{"required": [name]} for name in ("user", "username", "email")],
}


class Generator(GenerateJsonSchema):
    """Allows numbers and booleans of an input as strings, because old clients send them."""

    def int_schema(self, schema: IntSchema) -> JsonSchemaValue:
        result = super().int_schema(schema)
        return {"anyOf": [result, SPELLED_NUMBER]} if self.mode == "validation" else result

    def bool_schema(self, schema: BoolSchema) -> JsonSchemaValue:
        result = super().bool_schema(schema)
        return {"anyOf": [result, SPELLED_BOOLEAN]} if self.mode == "validation" else result

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the signature is pydantic's
        return False


def schemas_of(outputs: Sequence[Any]) -> dict[str, Any]:
    """The schemas by name: those of the responses, their parts, and the request bodies."""
    modes: dict[Any, JsonSchemaMode] = {**dict.fromkeys(outputs, "serialization"), InboxConfig: "validation"}
    kinds = [(kind.__name__, mode, TypeAdapter(kind)) for kind, mode in modes.items()]
    _, document = TypeAdapter.json_schemas(kinds, ref_template=REFERENCE, schema_generator=Generator)
    schemas: dict[str, Any] = document["$defs"]
    return {**schemas, **_input_schemas(schemas), "Credentials": LOGIN_SCHEMA}


def reference(name: str) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=name)}


def _input_schemas(schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The schemas of the input under the REST field names, with the fields that REST ignores."""
    ignored = {
        InboxConfig: READ_ONLY,
        SmtpConfig: READ_ONLY_OF_SERVER,
        ImapConfig: READ_ONLY_OF_SERVER,
        OAuth2Config: READ_ONLY_OF_OAUTH2,
    }
    sent = {}
    for model, names in ignored.items():
        schema = schemas[model.__name__]
        named = {("_id" if name == "id" else name): part for name, part in schema["properties"].items()}
        sent[model.__name__] = {**schema, "properties": {**named, **dict.fromkeys(names, IGNORED)}}
    return sent
