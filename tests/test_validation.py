"""How often an input is validated on the way of a mutation, and what of a refused one is judged all the same."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from models.config import InboxConfig
from models.user import UserConfig
from models.validation import Input, as_far_as_valid
from tests.api import SET
from tests.inboxes import consenting_values, inbox_values
from tests.running import Running
from tests.users import CREATE_USER

UPDATE = "mutation ($input: UpdateEmailInboxInput!) { updateEmailInbox(input: $input) { success } }"
UPDATE_USER = "mutation ($input: UpdateUserInput!) { updateUser(input: $input) { success } }"
CHECK = "mutation ($input: CheckEmailInboxInput!) { checkEmailInbox(input: $input) { success } }"


class Validations(Counter[str]):
    """How often an input was validated as a whole, and single fields by themselves."""


@pytest.fixture
def validations(monkeypatch: pytest.MonkeyPatch) -> Validations:
    counted = Validations()
    whole, by_itself = BaseModel.model_validate.__func__, TypeAdapter.validate_python  # type: ignore[attr-defined]

    def validate_whole(model: type[BaseModel], *args: Any, **kwargs: Any) -> Any:
        counted["inputs"] += 1
        return whole(model, *args, **kwargs)

    def validate_field(adapter: TypeAdapter[Any], *args: Any, **kwargs: Any) -> Any:
        counted["fields"] += 1
        return by_itself(adapter, *args, **kwargs)

    monkeypatch.setattr(Input, "model_validate", classmethod(validate_whole))
    monkeypatch.setattr(TypeAdapter, "validate_python", validate_field)
    return counted


async def run(server: Running, validations: Validations, document: str, **values: Any) -> tuple[Any, Validations]:
    """What the mutation answers, and what was validated for it."""
    validations.clear()
    body = await server.graphql(document, input=values)
    [payload] = body["data"].values()
    return payload, Validations(validations)


async def test_an_input_is_validated_once(server: Running, validations: Validations) -> None:
    for values in (inbox_values(id="a"), consenting_values(id="b", email="b@example.org")):
        for created in (True, False):  # the second time, secrets would be kept where they go to the same place
            payload, counted = await run(server, validations, SET, **values)
            assert (payload["success"], payload["created"]) == (True, created)
            assert counted == {"inputs": 1}
    kept = inbox_values(id="a", ifVersion=2)
    for protocol in ("smtp", "imap"):
        del kept[protocol]["password"]
    payload, counted = await run(server, validations, SET, **kept)
    assert payload["success"], payload
    assert counted == {"inputs": 1}


async def test_an_update_is_validated_together_with_what_is_stored(server: Running, validations: Validations) -> None:
    await run(server, validations, SET, **inbox_values(id="a"))
    payload, counted = await run(server, validations, UPDATE, id="a", name="Other", ifVersion=1)
    assert payload["success"], payload
    assert counted == {"inputs": 1, "fields": 1}  # the id, by which what is stored is found


async def test_what_is_refused_is_validated_once_more_field_by_field(server: Running, validations: Validations) -> None:
    await run(server, validations, SET, **inbox_values(id="a"))
    values = inbox_values(id="b", name=" ", ifVersion=7, smtp__password=None, imap__port=0, imap__maxRetries=3)
    payload, counted = await run(server, validations, SET, **values)
    assert {(".".join(error["field"]), error["code"]) for error in payload["userErrors"]} == {
        ("input.name", "REQUIRED"),
        ("input.email", "TAKEN"),
        ("input.ifVersion", "CONFLICT"),
        ("input.imap.port", "INVALID"),
        ("input.smtp.password", "PASSWORD_REQUIRED"),
    }
    assert counted == {"inputs": 1, "fields": len([*leaves(values)])}


def leaves(values: dict[str, Any]) -> Iterator[Any]:
    for value in values.values():
        yield from leaves(value) if isinstance(value, dict) else [value]


async def test_a_user_is_validated_once_and_the_password_before_it_is_hashed(
    server: Running, validations: Validations
) -> None:
    user = {"username": "ada", "email": "ada@example.org", "permissions": [], "password": "correct horse battery"}
    payload, counted = await run(server, validations, CREATE_USER, **user)
    assert counted == {"inputs": 1, "fields": 1}
    payload, counted = await run(server, validations, UPDATE_USER, id=payload["user"]["id"], name="Ada")
    assert payload["success"]
    assert counted == {"inputs": 1, "fields": 2}  # the id, and a password, of which there is none


async def test_what_is_checked_is_validated_once(server: Running, validations: Validations) -> None:
    await run(server, validations, SET, **inbox_values(id="a"))
    smtp = {"server": "10.0.0.1", "port": 587, "username": "ada", "secure": True, "password": "word"}
    _, counted = await run(server, validations, CHECK, id="a", smtp=smtp)
    assert counted == {"inputs": 1, "fields": 1}


# ------------------------------------------------------------------------------------------- what is right by itself


def test_what_is_wrong_counts_as_left_out() -> None:
    values = inbox_values(id="no id", name="\n", description=7, smtp__port=0, smtp__tlsFingerprint="x", imap="none")
    known = as_far_as_valid(InboxConfig, values)
    assert (known.id, known.description, known.email) == (None, None, values["email"])
    assert (known.smtp.server, known.smtp.tls_fingerprint) == (values["smtp"]["server"], None)
    assert not hasattr(known, "name")
    assert not hasattr(known, "imap")
    assert not hasattr(known.smtp, "port")


def test_what_is_right_is_what_validation_makes_of_it() -> None:
    values = inbox_values(id="a", smtp__port="587", smtp__secure="true", ifVersion="3")
    assert as_far_as_valid(InboxConfig, values) == InboxConfig.model_validate(values)
    user = {"username": "ada", "permissions": ["read-email"]}
    assert as_far_as_valid(UserConfig, user) == UserConfig.model_validate(user)
