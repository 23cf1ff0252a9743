"""Setting, replacing, finding and deleting inboxes, over both APIs."""

import asyncio
from typing import Any

import email_validator
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models import inbox as rows
from models.config import SERVER_CONFIGS, InboxConfig
from models.fields import address_key, folded
from models.stored import PROTOCOLS, secret_of
from tests.api import SET, Api, GraphQLApi, RestApi
from tests.inboxes import IMAP_PASSWORD, SMTP_PASSWORD, inbox_values, lengths
from tests.running import Running


async def test_an_inbox_is_created_and_shown_without_its_passwords(api: Api) -> None:
    values = inbox_values(description="For\nhelp", senderInfo="Example Support", department="Helpdesk")
    created = await api.set_inbox(values)
    assert created.inbox_id
    assert len(created.inbox_id) == 17
    shown = await api.inbox(created.inbox_id)
    assert shown
    for name in ("name", "email", "active", "description", "senderInfo", "department"):
        assert shown[name] == values[name]
    identity = {"server": "smtp.example.org", "port": 465, "username": "support", "secure": True}
    server = {**identity, "hasPassword": True, "tlsFingerprint": None, "oauth2": None}
    assert shown["smtp"] == server
    assert shown["imap"] == {**server, "server": "imap.example.org", "port": 993, "maxRetries": 10}
    assert shown["createdBy"]["username"] == "admin"
    assert shown["createdAt"].endswith("Z")
    assert len(shown["createdAt"]) == len("2026-01-31T12:00:00.000Z")


async def test_both_apis_show_the_same(server: Running) -> None:
    graphql, rest = GraphQLApi(server.client), RestApi(server.client)
    created = await graphql.set_inbox(inbox_values(department="All"))
    assert created.inbox_id
    one, other = await graphql.inbox(created.inbox_id), await rest.inbox(created.inbox_id)
    assert one
    assert one.pop("version") == 1
    assert one == other
    assert one["department"] is None


async def test_an_inbox_is_created_under_a_given_id_and_replaced_there(api: Api) -> None:
    assert (await api.set_inbox(inbox_values(id="JdVkn_dkOlms_", description="old"))).inbox_id == "JdVkn_dkOlms_"
    assert (await api.set_inbox(inbox_values(id="JdVkn_dkOlms_", name="Sales"))).inbox_id == "JdVkn_dkOlms_"
    shown = await api.inbox("JdVkn_dkOlms_")
    assert shown
    assert (shown["name"], shown["description"]) == ("Sales", None)


async def test_a_replaced_inbox_keeps_its_creator_and_grows_its_version(server: Running) -> None:
    api = GraphQLApi(server.client)
    await api.set_inbox(inbox_values(id="a"))
    before = await api.inbox("a")
    await api.set_inbox(inbox_values(id="a", name="Other"))
    after = await api.inbox("a")
    assert before
    assert after
    assert (before["version"], after["version"]) == (1, 2)
    assert before["createdAt"] == after["createdAt"]
    assert before["createdBy"] == after["createdBy"]
    assert before["updatedAt"] <= after["updatedAt"]


async def test_deleting_gives_the_id_once(api: Api) -> None:
    await api.set_inbox(inbox_values(id="gone"))
    assert (await api.delete_inbox("gone")).inbox_id == "gone"
    assert (await api.delete_inbox("gone")).problems == {("id", "NOT_FOUND")}
    assert await api.inbox("gone") is None


@pytest.mark.parametrize(
    ("stored", "other"),
    [
        ("support@example.org", "SUPPORT@Example.ORG"),
        ("straße@example.org", "STRASSE@example.org"),
        ("ﬁne@example.org", "fine@example.org"),
        ("support@bücher.example", "support@XN--BCHER-KVA.example"),
    ],
)
async def test_an_address_is_unique_without_regard_to_its_spelling(api: Api, stored: str, other: str) -> None:
    assert (await api.set_inbox(inbox_values(id="first", email=stored))).inbox_id
    assert (await api.set_inbox(inbox_values(id="second", email=other))).problems == {("input.email", "TAKEN")}
    assert (await api.set_inbox(inbox_values(id="first", email=other))).inbox_id == "first"
    found = await api.inbox_by_email(stored)
    assert found
    assert found["email"] == other


async def test_racing_creates_of_one_address_give_one_inbox(server: Running) -> None:
    apis: list[Api] = [GraphQLApi(server.client), RestApi(server.client)]
    outcomes = await asyncio.gather(*(apis[turn % 2].set_inbox(inbox_values()) for turn in range(50)))
    created = [outcome for outcome in outcomes if outcome.inbox_id]
    assert len(created) == 1
    assert {frozenset(outcome.problems) for outcome in outcomes} == {
        frozenset(),
        frozenset({("input.email", "TAKEN")}),
    }


async def test_racing_creates_under_one_id_are_one_inbox(server: Running) -> None:
    api = GraphQLApi(server.client)
    outcomes = await asyncio.gather(
        *(api.set_inbox(inbox_values(id="one", email=f"a{turn}@example.org")) for turn in range(10))
    )
    assert {outcome.inbox_id for outcome in outcomes} == {"one"}
    shown = await api.inbox("one")
    assert shown
    assert shown["version"] == 10


# ----------------------------------------------------------------------------------------------------- passwords


async def test_a_password_is_needed_to_create(api: Api) -> None:
    outcome = await api.set_inbox(inbox_values(smtp__password=..., imap__password=None))
    assert outcome.problems == {
        ("input.smtp.password", "PASSWORD_REQUIRED"),
        ("input.imap.password", "PASSWORD_REQUIRED"),
    }


async def test_a_stored_password_is_kept_where_its_server_stays(api: Api, server: Running) -> None:
    await api.set_inbox(inbox_values(id="a"))
    changed = inbox_values(id="a", name="Other", smtp__password=..., imap__password=None, imap__maxRetries=-1)
    assert (await api.set_inbox(changed)).inbox_id == "a"
    assert await passwords_of(server, "a") == (SMTP_PASSWORD, IMAP_PASSWORD)


@pytest.mark.parametrize("protocol", ["smtp", "imap"])
async def test_a_stored_password_never_goes_to_another_server(api: Api, server: Running, protocol: str) -> None:
    await api.set_inbox(inbox_values(id="a"))
    elsewhere = {"server": "mail.attacker.example", "port": 2465, "username": "other", "secure": False}
    for name, value in elsewhere.items():
        change = {f"{protocol}__{name}": value}
        without = inbox_values(id="a", **{"smtp__password": ..., "imap__password": ..., **change})
        assert (await api.set_inbox(without)).problems == {(f"input.{protocol}.password", "PASSWORD_REQUIRED")}
        assert await passwords_of(server, "a") == (SMTP_PASSWORD, IMAP_PASSWORD)
    moved = inbox_values(id="a", **{f"{protocol}__server": "mail.example.net", f"{protocol}__password": "new-secret-2"})
    assert (await api.set_inbox(moved)).inbox_id == "a"
    assert "new-secret-2" in await passwords_of(server, "a")


async def test_a_missing_password_is_reported_beside_every_other_problem(api: Api) -> None:
    outcome = await api.set_inbox(inbox_values(name=" ", smtp__password=..., smtp__port=0, imap__server="a b"))
    assert outcome.problems == {
        ("input.name", "REQUIRED"),
        ("input.smtp.port", "INVALID"),
        ("input.smtp.password", "PASSWORD_REQUIRED"),
        ("input.imap.server", "INVALID"),
    }


async def test_a_taken_address_is_reported_beside_every_other_problem(server: Running) -> None:
    api = GraphQLApi(server.client)
    await api.set_inbox(inbox_values(id="first"))
    outcome = await api.set_inbox(inbox_values(id="second", name=""))
    assert outcome.problems == {("input.name", "REQUIRED"), ("input.email", "TAKEN")}


async def test_a_short_password_any_department_and_starttls_ports_are_taken(api: Api) -> None:
    values = inbox_values(id="a", department="Nobody knows it", smtp__port=587, imap__port=143, smtp__password="abcd")
    assert (await api.set_inbox(values)).inbox_id == "a"


async def passwords_of(server: Running, inbox_id: str) -> tuple[str, str]:
    """Both passwords, decrypted."""
    [inbox] = await server.context.database.find(rows.BY_ID, id=inbox_id)
    smtp, imap = (secret_of(inbox, protocol, "password", server.context.keyring) for protocol in PROTOCOLS)
    return smtp.reveal(), imap.reveal()


# ----------------------------------------------------------------------------------------------------- bad input

LONE_SURROGATE = "\ud800"
LIMITS = {"name": 200, "senderInfo": 200, "department": 200, "description": 2_000, "email": 254}
SERVER_LIMITS = {"server": 253, "username": 1_000, "password": 1_000}
TEXTS = [*LIMITS]
SERVER_TEXTS = [f"{protocol}__{name}" for protocol in PROTOCOLS for name in SERVER_LIMITS]


def test_every_text_has_its_length_here() -> None:
    assert lengths(InboxConfig) == LIMITS
    for config in SERVER_CONFIGS.values():
        assert lengths(config) == SERVER_LIMITS


def dotted(path: str) -> str:
    return "input." + path.replace("__", ".")


async def problems_of(api: Api, cases: dict[str, list[Any]]) -> dict[tuple[str, Any], set[tuple[str, str]]]:
    """What is wrong with an inbox that is right but for one field, for every bad value of every field."""
    return {
        (path, value): (await api.set_inbox(inbox_values(**{path: value}))).problems
        for path, values in cases.items()
        for value in values
    }


def all_refused(cases: dict[str, list[Any]], code: str) -> dict[tuple[str, Any], set[tuple[str, str]]]:
    return {(path, value): {(dotted(path), code)} for path, values in cases.items() for value in values}


async def test_control_characters_and_lone_surrogates_are_refused(api: Api) -> None:
    bad = ["a\0b", "a\x1bb", "a\x7fb", "a\x85b", f"a{LONE_SURROGATE}b"]
    cases = dict.fromkeys(TEXTS + SERVER_TEXTS, bad)
    lines = {path: ["a\r\nBcc: b", "a\nb", "a\rb", "a\u2028b", "a\tb"] for path in cases if path != "description"}
    assert await problems_of(api, cases) == all_refused(cases, "INVALID")
    assert await problems_of(api, lines) == all_refused(lines, "INVALID")
    assert (await api.set_inbox(inbox_values(description="a\r\n\tb"))).inbox_id


async def test_text_that_is_too_long_is_refused(api: Api) -> None:
    cases = {path: [text_of(path, 1)] for path in TEXTS + SERVER_TEXTS}
    for path, problems in (await problems_of(api, cases)).items():
        assert (dotted(path[0]), "TOO_LONG") in problems, path


async def test_text_of_the_greatest_length_is_taken(api: Api) -> None:
    longest = {path: text_of(path, 0) for path in TEXTS + SERVER_TEXTS}
    created = await api.set_inbox(inbox_values(**longest))
    assert created.inbox_id, created
    shown = await api.inbox(created.inbox_id)
    assert shown
    assert shown["description"] == longest["description"]


def text_of(path: str, beyond: int) -> str:
    """Valid text of the field's greatest length, and some more."""
    name = path.rpartition("__")[2]
    length = {**LIMITS, **SERVER_LIMITS}[name] + beyond
    labels = ".".join("a" * 49 for _ in range(6))
    if name == "email":
        return f"support@{labels}"[: length - 1] + "e"
    return labels[: length - 1] + "e" if name == "server" else "x" * length


async def test_text_that_grows_when_it_is_folded_is_refused(api: Api) -> None:
    cases: dict[str, list[Any]] = {"name": ["ﷺ" * 100], "email": ["ﷺ" * 60 + "@example.org"]}
    assert await problems_of(api, cases) == all_refused(cases, "TOO_LONG")
    assert (await api.set_inbox(inbox_values(name="ß" * 200))).inbox_id


async def test_blank_text_is_refused(api: Api) -> None:
    paths = ["name", "smtp__server", "smtp__username", "imap__server", "imap__username"]
    cases = {path: ["", " ", "\u3000"] for path in paths}
    assert await problems_of(api, cases) == all_refused(cases, "REQUIRED")


async def test_values_of_no_use_are_refused(api: Api) -> None:
    ports = [0, -1, 65_536, 2**31 - 1]
    no_hosts = ["https://a.b", "a.b:25", "a b", "a/b", "user@a.b", "-a.b", "a..b", ".a", "[::1]:25", "a_b.c!", "x" * 64]
    no_addresses = ["", "a", "@a.b", "a@", "a@@b.c", "a b@c.d", "<a@b.c>", "a@b..c", "a@[::1]", "a@-b.c", "a,b@c.d"]
    cases: dict[str, list[Any]] = {
        "smtp__port": ports,
        "imap__port": ports,
        "imap__server": no_hosts,
        "imap__maxRetries": [-2],
        "smtp__password": [""],
        "email": no_addresses,
        "id": ["", "a b", "a/b", "ä", "x" * 65, "a\n", "a.b"],
    }
    assert await problems_of(api, cases) == all_refused(cases, "INVALID")


async def test_odd_but_legal_values_are_taken(api: Api) -> None:
    cases: dict[str, list[Any]] = {
        "email": ["a@b.c", "support@localhost", "support@firm.local", "ü@bücher.example", "a+b@c.d"],
        "imap__server": ["localhost", "127.0.0.1", "::1", "[::1]", "mail.example.org.", "bücher.example", "a_b.c"],
        "imap__maxRetries": [-1, 0, 2**31 - 1],
        "department": ["", None],
    }
    for path, values in cases.items():
        for value in values:
            assert (await api.set_inbox(inbox_values(id="odd", **{path: value}))).inbox_id, (path, value)


async def test_nothing_of_a_refused_input_is_stored(api: Api) -> None:
    await api.set_inbox(inbox_values(id="a"))
    before = await api.inbox("a")
    assert (await api.set_inbox(inbox_values(id="a", name="New", imap__port=0))).problems
    assert await api.inbox("a") == before


# ---------------------------------------------------------------------------------------- versions, warnings, update


async def test_a_version_that_is_not_the_stored_one_is_a_conflict(server: Running) -> None:
    api = GraphQLApi(server.client)
    absent = await api.set_inbox(inbox_values(id="a", ifVersion=1))
    assert absent.problems == {("input.ifVersion", "CONFLICT")}
    await api.set_inbox(inbox_values(id="a"))
    assert (await api.set_inbox(inbox_values(id="a", ifVersion=1))).inbox_id == "a"
    assert (await api.set_inbox(inbox_values(id="a", ifVersion=1))).problems == {("input.ifVersion", "CONFLICT")}


async def test_of_racing_changes_of_one_version_one_succeeds(server: Running) -> None:
    api = GraphQLApi(server.client)
    await api.set_inbox(inbox_values(id="a"))
    outcomes = await asyncio.gather(*(api.set_inbox(inbox_values(id="a", ifVersion=1)) for _ in range(10)))
    assert sorted(bool(outcome.inbox_id) for outcome in outcomes) == [False] * 9 + [True]


async def test_odd_ports_are_saved_with_a_warning(server: Running) -> None:
    body = await server.graphql(SET, input=inbox_values(smtp__port=25, imap__port=993, imap__secure=False))
    payload = body["data"]["setEmailInbox"]
    assert payload["success"]
    assert [warning["field"] for warning in payload["warnings"]] == [
        ["input", "smtp", "port"],
        ["input", "imap", "port"],
    ]
    assert "STARTTLS" in payload["warnings"][0]["message"]


UPDATE = """
    mutation ($input: UpdateEmailInboxInput!) {
        updateEmailInbox(input: $input) {
            success userErrors { code field }
            emailInbox { name description version smtp { port } imap { maxRetries server } }
        }
    }
"""


async def update(server: Running, **changes: Any) -> dict[str, Any]:
    body = await server.graphql(UPDATE, input={"id": "a", **changes})
    payload: dict[str, Any] = body["data"]["updateEmailInbox"]
    return payload


async def test_an_update_changes_what_is_given_and_null_clears(server: Running) -> None:
    await GraphQLApi(server.client).set_inbox(inbox_values(id="a", description="For help", imap__maxRetries=3))
    renamed = await update(server, name="Sales")
    assert renamed["emailInbox"] == {
        "name": "Sales",
        "description": "For help",
        "version": 2,
        "smtp": {"port": 465},
        "imap": {"maxRetries": 3, "server": "imap.example.org"},
    }
    cleared = await update(server, description=None, imap={"maxRetries": None})
    assert cleared["emailInbox"]["description"] is None
    assert cleared["emailInbox"]["imap"] == {"maxRetries": 10, "server": "imap.example.org"}
    assert await passwords_of(server, "a") == (SMTP_PASSWORD, IMAP_PASSWORD)


async def test_an_update_is_held_to_the_rules_of_setting(server: Running) -> None:
    api = GraphQLApi(server.client)
    await api.set_inbox(inbox_values(id="a"))
    await api.set_inbox(inbox_values(id="b", email="taken@example.org"))
    refused = await update(
        server, name=None, email="TAKEN@example.org", smtp={"port": 25}, imap={"server": None}, ifVersion=7
    )
    assert {(tuple(error["field"]), error["code"]) for error in refused["userErrors"]} == {
        (("input", "name"), "REQUIRED"),
        (("input", "email"), "TAKEN"),
        (("input", "smtp", "password"), "PASSWORD_REQUIRED"),
        (("input", "imap", "server"), "REQUIRED"),
        (("input", "imap", "password"), "PASSWORD_REQUIRED"),
        (("input", "ifVersion"), "CONFLICT"),
    }


async def test_an_update_of_nothing_known_is_not_found(server: Running) -> None:
    for inbox_id in ("nobody", "", "a\0"):
        refused = await update(server, id=inbox_id)
        assert refused["userErrors"] == [{"code": "NOT_FOUND", "field": ["input", "id"]}]


# ------------------------------------------------------------------------------------------------------- addresses

_LOCAL = st.from_regex(r"[A-Za-z0-9_+.!-]{0,70}", fullmatch=True)
_DOMAIN = st.from_regex(r"([A-Za-z0-9-]{0,65}\.){0,4}[A-Za-z0-9-]{0,65}", fullmatch=True) | st.sampled_from(
    ["example.org", "xn--nxasmq6b.org", "ab--c.org", "localhost", "1.2.3.4", "a.b.c.d.example.COM", "test.internal"]
)


@given(address=st.builds(lambda local, domain: f"{local}@{domain}", _LOCAL, _DOMAIN) | st.emails())
@example("a" * 65 + "@example.org")
@example("a@" + "b" * 63 + ".org")
@example("a@" + "b" * 64 + ".org")
@example("a@" + "b." * 124 + "org")
@example("a@" + "b." * 126 + "org")
@settings(max_examples=500, deadline=None)
def test_a_plain_address_is_judged_as_the_library_judges_it(address: str) -> None:
    email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()  # as the code does once it needs the library
    try:
        found = email_validator.validate_email(
            address, check_deliverability=False, globally_deliverable=False, allow_smtputf8=True
        )
    except email_validator.EmailNotValidError:
        with pytest.raises(ValueError, match=r"long|address|@|[Pp]art"):
            address_key(address)
    else:
        assert address_key(address) == f"{folded(found.local_part)}@{found.ascii_domain.lower()}"
