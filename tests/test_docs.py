"""The documentation says what is so: its examples run, its tables are those of the code, its links lead somewhere."""

import ast
import itertools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from graphql import OperationDefinitionNode, parse, validate

import server as composition
from edge import admission, body, protocol, serving, websocket
from mail import patience, report
from models import change, database, fields, paging, token
from models.config import MAIL_PORTS, SERVER_CONFIGS, InboxConfig
from models.database import backend, postgresql
from models.errors import ErrorCode, ProductError
from models.oauth2 import OAuth2Config
from models.validation import names_of
from resolvers import events, inbox, mail_limits, throttle, windows
from rest import ROUTES
from runners import upkeep
from schema import build_schema, errors
from schema.http import endpoint, extensions, limits, sse, trusted_documents
from schema.http import websocket as websocket_messages
from settings import Settings
from tests.inboxes import lengths
from tests.pages import DOCS, PAGES, ROOT, examples, quoted, table
from tests.rules import rules

CODE = ("models", "mail", "resolvers", "schema", "rest", "edge", "cli", "runners")


def test_every_root_field_has_an_example() -> None:
    schema = build_schema()._schema
    kinds = [schema.query_type, schema.mutation_type, schema.subscription_type]
    names = {name for kind in kinds if kind for name in kind.fields}
    shown = "\n".join(example.text for example in examples(DOCS / "graphql.md", "graphql"))
    assert {name for name in names if not re.search(rf"\b{name}\b", shown)} == set()


# ----------------------------------------------------------------------------------------------- tables and constants


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    documented = {}
    for cells in table(DOCS / "configuration.md", "setting", "default"):
        [name], default = quoted(cells[0]), quoted(cells[1])
        documented[name] = default[0] if default else None
    fields = Settings.model_fields
    assert set(documented) == {f"EMAIL_INBOX_{name.upper()}" for name in fields}
    for name, info in fields.items():
        if isinstance(info.default, bool | int | str | Path):
            assert documented[f"EMAIL_INBOX_{name.upper()}"] == str(info.default).lower(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_a_setting_that_does_not_exist(page: Path) -> None:
    named = set(re.findall(r"EMAIL_INBOX_[A-Z_]*[A-Z](?![A-Z_])", page.read_text("utf-8")))
    assert named <= {f"EMAIL_INBOX_{name.upper()}" for name in Settings.model_fields}


def test_every_field_of_an_inbox_is_documented() -> None:
    rows = {name: row for row in table(DOCS / "rest.md", "field", "") for name in quoted(row[0])}
    assert set(rows) == {"_id" if name == "id" else name for name in names_of(InboxConfig).values()}
    for name, config in SERVER_CONFIGS.items():
        assert set(names_of(config).values()) <= set(quoted(rows[name][-1]))
    text = (DOCS / "rest.md").read_text("utf-8")
    assert re.findall("`(.*?)`", text[text.index("- `oauth2` holds") :].partition("under")[0])[1:] == [
        *names_of(OAuth2Config).values()
    ]


def test_every_length_of_a_text_of_an_inbox_is_documented() -> None:
    [listed] = re.findall(r"Lengths, in characters: (.*?)\.\s", (DOCS / "graphql.md").read_text("utf-8"), re.DOTALL)
    listed_lengths = {
        name.strip(): int(length.replace(",", ""))
        for names, length in re.findall(r"([a-zA-Z, ]+) ([\d,]+)(?:;|$)", listed.replace("\n", " "))
        for name in names.split(",")
    }
    of_servers = [lengths(config) for config in SERVER_CONFIGS.values()]
    assert listed_lengths == {**lengths(InboxConfig), **of_servers[0], **of_servers[1]}


def test_every_error_code_is_documented() -> None:
    documented = [code for row in table(DOCS / "graphql.md", "code", "") for code in quoted(row[0])]
    assert sorted(documented) == sorted(ErrorCode.__members__)


def test_every_code_of_a_top_level_error_is_documented() -> None:
    documented = {quoted(row[0])[0] for row in table(DOCS / "graphql.md", "code", "HTTP")}
    kinds: list[type[ProductError]] = [ProductError, *ProductError.__subclasses__()]
    known = {kind.code for kind in kinds}
    assert documented == known | {errors.PARSE_FAILED, errors.VALIDATION_FAILED, errors.BAD_USER_INPUT}


def test_the_list_of_documents_that_is_shown_can_be_used(tmp_path: Path) -> None:
    lists = re.findall(r"```json\n(\{ \"[0-9a-f]{64}\".*)\n```", (DOCS / "graphql.md").read_text("utf-8"))
    assert lists
    for shown in lists:
        (tmp_path / "list.json").write_text(shown)
        assert trusted_documents.load_documents(tmp_path / "list.json")


def test_the_permissions_are_those_of_the_code() -> None:
    rows = table(DOCS / "security.md", "resolver", "GraphQL")
    assert {quoted(row[0])[0]: row[-1].replace("`", "") for row in rows} == rules()


def test_the_limits_are_those_of_the_code() -> None:
    assert {row[0]: row[1] for row in table(DOCS / "graphql.md", "limit", "")} == {
        "body, WebSocket message": f"{body.MAX_BODY_BYTES // 1024 // 1024} MiB",
        "WebSocket message before `connection_ack`": f"{websocket.MAX_FIRST_MESSAGE // 1024} KiB",
        "characters of a document": f"{limits.MAX_DOCUMENT_LENGTH:,}",
        "characters of `operationName`": f"{trusted_documents.MAX_OPERATION_NAME}",
        "characters of a name in a document": f"{limits.MAX_NAME_LENGTH}",
        "tokens of a document": f"{limits.MAX_DOCUMENT_TOKENS:,}",
        "comments of a document": f"{limits.MAX_COMMENTS}",
        "aliases": f"{limits.MAX_ALIASES}",
        "operations and fragments of a document": f"{limits.MAX_DEFINITIONS}",
        "values within the variables": f"{trusted_documents.MAX_VALUES:,}",
        "errors reported for a document": f"{extensions.MAX_ERRORS}",
        "root mutations of a request": f"{limits.MAX_ROOT_MUTATIONS}",
        "the same name in one selection set": f"{limits.MAX_REPEATED}",
        "selections of one name that come together, compared with each other": f"{limits.MAX_COMPARISONS:,}",
        "fields of an object literal": f"{limits.MAX_OBJECT_FIELDS}",
        "`__schema` or `__type` in a document": "1, without aliases in it",
        "depth, introspection aside": f"{limits.MAX_DOCUMENT_DEPTH}",
        "subscriptions of one WebSocket": f"{endpoint.MAX_SUBSCRIPTIONS}",
        "WebSockets without credentials": (
            f"{websocket.MAX_ANONYMOUS}, {websocket.MAX_ANONYMOUS_PER_ADDRESS} of one address, "
            f"{websocket_messages.ANONYMOUS_SECONDS:g} s"
        ),
        "time to `connection_init`": f"{endpoint.INIT_TIMEOUT.seconds} s",
        "head of a request": f"{protocol.MAX_HEAD_BYTES // 1024} KiB, {protocol.HEAD_SECONDS:g} s",
        "time for a body": f"{protocol.BODY_SECONDS:g} s",
        "time for taking a piece of the answer": f"{protocol.SEND_SECONDS:g} s",
        "requests worked on at once": f"{admission.MAX_ACTIVE_REQUESTS}",
        "changes waiting or being written": f"{database.MAX_WAITING_UNITS}",
    }


def test_the_limits_of_checks_are_those_of_the_code() -> None:
    limits = {row[0]: row[1] for row in table(DOCS / "mail.md", "limit", "")}
    assert limits == {
        "a stage": f"{patience.STAGE_SECONDS:g} s",
        ", ".join(f"`{stage}`" for stage in report.StageName if stage in patience.SLOW_STAGES): (
            f"{patience.seconds_for(report.StageName.GREETING):g} s"
        ),
        "a check": f"{patience.CHECK_SECONDS:g} s",
        "a mail server's answer to a test mail": f"{patience.MESSAGE_SECONDS:g} s",
        "a test mail": f"{patience.CHECK_SECONDS + patience.MESSAGE_SECONDS:g} s",
        "the wait for a turn": f"{patience.CHECK_SECONDS + patience.MESSAGE_SECONDS:g} s",
        "checks and test mails of a user": f"{mail_limits.CHECKS_PER_USER.amount} a minute",
        "at once in one process": f"{mail_limits.MAX_RUNNING_CHECKS}",
        "waiting for their turn": f"{mail_limits.MAX_WAITING_CHECKS}",
    }


def test_the_stages_codes_and_ports_of_mail_are_those_of_the_code() -> None:
    assert [quoted(row[0])[0] for row in table(DOCS / "mail.md", "stage", "passed when")] == list(report.StageName)
    of_mail = [quoted(row[0])[0] for row in table(DOCS / "mail.md", "code", "what is meant")]
    of_inputs = ["REQUIRED", "INVALID", "TOO_LONG", "TAKEN", "NOT_FOUND", "CONFLICT", "UNUSUAL"]
    assert sorted(of_mail + of_inputs) == sorted(ErrorCode)
    ports = sorted(MAIL_PORTS)
    [[_, default, _]] = [
        row for row in table(DOCS / "configuration.md", "setting", "default") if "MAIL_PORTS" in row[0]
    ]
    assert quoted(default) == [",".join(map(str, ports))]
    assert ", ".join(map(str, ports[:-1])) + f" and {ports[-1]}" in (DOCS / "mail.md").read_text("utf-8")


def test_the_throttling_is_that_of_the_code() -> None:
    counts = {row[0]: row[1] for row in table(DOCS / "security.md", "counted", "a minute")}
    assert counts == {
        "failed logins as one user, from one address": str(throttle.FAILED_LOGINS_PER_USER.amount),
        "failed logins, from one address": str(throttle.FAILURES_PER_NETWORK.amount),
        "all logins as one user, right ones too, from one address": str(throttle.LOGINS_PER_USER.amount),
        "all logins, from one address": str(throttle.LOGINS_PER_NETWORK.amount),
        "wrong tokens, from one address": str(throttle.FAILURES_PER_NETWORK.amount),
    }


def test_the_figures_in_the_text_are_those_of_the_code() -> None:
    days, hours = token.LOGIN_LIFETIME.days, change.RETENTION.total_seconds() / 3_600
    until_ended = inbox.RECHECK_SECONDS
    connections = postgresql.WRITER_CONNECTIONS + backend.READER_CONNECTIONS
    connections += postgresql.LOOKUP_CONNECTIONS + postgresql.LISTENER_CONNECTIONS
    figures = {
        "operation.md": [
            f"answered within {serving.GRACE_SECONDS} seconds",
            f"after {backend.LOCK_SECONDS:g} seconds of waiting",
            f"waits for {backend.LOCK_SECONDS:g} seconds",
            f"up to {connections} connections",
        ],
        "graphql.md": [
            f"kept for {hours:g} hours",
            f"falls {events.MAX_QUEUED_EVENTS:,} changes behind",
            f"a comment comes every {sse.PING_SECONDS:g} seconds",
            f"within {until_ended:g} seconds",
            f"valid for {days} days",
            f"written down every {upkeep.FLUSH_SECONDS:g} seconds",
            f"(1 to {paging.MAX_SIZE}, {paging.DEFAULT_SIZE} by default)",
        ],
        "rest.md": [f"valid for {days} days", f"0 to {paging.MAX_SIZE}, {paging.DEFAULT_SIZE} by default"],
        "security.md": [
            (
                f"{mail_limits.CHECKS_PER_USER.amount} checks and test mails a minute for a user, "
                f"{mail_limits.MAX_RUNNING_CHECKS} at once"
            ),
            f"valid for {days} days",
            f"within {until_ended:g} seconds",
            f"for {hours:g} hours",
            f"works on {admission.MAX_ACTIVE_REQUESTS} requests at once",
            f"waits for {protocol.START_WAIT_SECONDS:g} seconds",
            f"no more than {database.MAX_WAITING_UNITS} are changes",
            f"{protocol.HEAD_SECONDS:g} seconds for its head",
            f"{protocol.BODY_SECONDS:g} seconds for its body",
            f"of an answer for {protocol.SEND_SECONDS:g} seconds",
            f"{events.MAX_QUEUED_EVENTS:,} changes behind",
            f"at most {token.MAX_ACCESS_TOKENS} access tokens, and {token.MAX_LOGINS} tokens of logins",
            f"at most {change.MAX_CHANGES:,}",
            f"{mail_limits.MAX_RUNNING_HASHES} logins are verified at a time and {mail_limits.MAX_WAITING_LOGINS} wait",
            f"`updateUser` and {mail_limits.MAX_WAITING_PASSWORDS} wait",
            f"a name ({fields.MAX_ADDRESS} characters) or a password ({fields.MAX_PASSWORD:,})",
            f"a token of more than {token.MAX_TOKEN_LENGTH} characters",
            f"and {throttle.UNKNOWN_TOKENS_PER_NETWORK.amount} times a second in all",
            f"{windows.MAX_KEYS_COUNTED:,} of each kind",
            f"network of {windows.IPV6_PREFIX} bits",
            f"{limits.MAX_ALIASES} aliases, a name {limits.MAX_REPEATED} times",
        ],
    }
    for page, phrases in figures.items():
        text = " ".join((DOCS / page).read_text("utf-8").split())
        assert [phrase for phrase in phrases if phrase not in text] == [], page


def test_every_endpoint_of_the_rest_path_is_documented() -> None:
    documented = {quoted(row[0])[0] for row in table(DOCS / "rest.md", "endpoint", "needs")}
    routes = {f"{max((route.methods or set()) - {'HEAD'})} {route.path[1:]}" for route in ROUTES}
    assert documented == routes


def test_every_command_of_the_shell_is_documented() -> None:
    documented = {quoted(row[0])[0].split(" ", 1)[1] for row in table(DOCS / "operation.md", "command", "")}
    assert {re.sub(r" ?(\[.*|[A-Z]+.*)?$", "", command) for command in documented} == set(commands())


def commands() -> Iterator[str]:
    """The commands of `server.py`, those of a group with its name."""
    root: Any = typer.main.get_command(composition.commands())
    for name, command in root.commands.items():
        below = getattr(command, "commands", None)
        yield from (f"{name} {leaf}" for leaf in below) if below else (name,)


def test_every_event_of_the_log_is_documented() -> None:
    documented = {event for row in table(DOCS / "operation.md", "event", "level") for event in quoted(row[0])}
    folders = [ROOT / folder for folder in (*CODE, "migrations/versions")]
    modules = [ROOT / "server.py", *(path for folder in folders for path in folder.rglob("*.py"))]
    logged = {event for path in modules for event in re.findall(r'\blog\.\w+\("([^"]+)"', path.read_text("utf-8"))}
    assert documented == logged


def test_every_library_is_documented() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    asked_for = {re.split(r"[\[;]", name)[0] for name in project["project"]["dependencies"]}
    rows = table(DOCS / "decisions" / "0006-libraries.md", "library", "for")
    assert {name for row in rows for name in row[0].split(", ")} == asked_for


# ------------------------------------------------------------------------------------------------------ names, links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page have."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", [ROOT / "HACKING.md", *sorted((DOCS / "decisions").glob("*.md"))], ids=lambda p: p.name
)
def test_every_file_and_function_that_is_named_exists(page: Path) -> None:
    for name in quoted(page.read_text("utf-8")):
        named = re.fullmatch(r"([\w./-]+\.(?:py|md|toml|graphql|ts|tsx|mjs|svg|png))(?::(\w+))?", name)
        if named and "…" not in name:
            path = ROOT / named[1]
            assert path.exists(), name
            assert not named[2] or named[2] in defined_in(path), name


def defined_in(path: Path) -> set[str]:
    """The functions, classes, methods and constants of a module."""
    module = ast.parse(path.read_text("utf-8"))
    bodies = [module.body, *(node.body for node in module.body if isinstance(node, ast.ClassDef))]
    names = set()
    for node in itertools.chain(*bodies):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
    return names


def test_the_version_is_that_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f"[{version}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_first_operations_of_graphiql_are_valid_and_in_order() -> None:
    found = re.search(r"query = `\\\n(.*?)`;", (ROOT / "web" / "src" / "example.ts").read_text("utf-8"), re.DOTALL)
    assert found
    document = parse(found[1])
    assert validate(build_schema()._schema, document) == []
    names = [
        part.name.value for part in document.definitions if isinstance(part, OperationDefinitionNode) and part.name
    ]
    assert names == ["SetSupportInbox", "Check", "SendTest", "Inboxes", "Changes"]
