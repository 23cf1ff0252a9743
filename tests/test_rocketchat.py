"""`import-rocketchat`: what is taken over and what is left out, while a server writes, and after an interruption."""

import itertools
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from models.change import EmailInboxChange
from models.database import open_database
from settings import Settings
from tests.inboxes import inbox_values
from tests.process import Process, environment_of, run, serving, start, until
from tests.running import ADMIN_ID, settings_for
from tests.stored import inboxes_of
from tests.test_keys import writing
from tests.test_shell import Shell

TOKEN, DIGEST = "z" * 43, "7Pp+tc9FX3+cx8SRw/mlY+PFDNmz/LANb+C7qhdRBNg="
ALICE: dict[str, Any] = {
    "_id": "WzMtTbTqXHqfPBxgs",
    "username": "alice",
    "name": "Alice",
    "type": "user",
    "roles": ["user", "admin"],
    "active": True,
    "emails": [{"address": "alice@chat.example", "verified": True}],
    "services": {
        "password": {"bcrypt": "$2b$10$x"},
        "resume": {"loginTokens": [{"when": {"$date": "2026-01-31T12:00:00Z"}, "hashedToken": DIGEST}]},
    },
}
INBOX: dict[str, Any] = {
    "_id": "JdVkn_dkOlms_",
    "_updatedAt": {"$date": {"$numberLong": "1769860800000"}},
    "_createdBy": {"_id": "WzMtTbTqXHqfPBxgs", "username": "alice"},
    **inbox_values(email="support@chat.example", imap__maxRetries=-1),
}
CAT = {"_id": "rocket.cat", "username": "rocket.cat", "type": "bot", "roles": ["bot"], "active": True}
DOCUMENTS = [INBOX, ALICE, CAT, {"_id": "a-setting", "value": 1}]


@pytest.fixture
def process(settings: Settings, tmp_path: Path) -> Iterator[Process]:
    with serving(environment_of(settings), tmp_path) as started:
        yield started


@pytest.fixture
def shell(settings: Settings, tmp_path: Path) -> Shell:
    return Shell(settings, tmp_path)


@pytest.fixture
def alone(sqlite_template: Path, tmp_path: Path) -> Settings:
    """A database that no server works on."""
    return settings_for(shutil.copytree(sqlite_template, tmp_path / "data"))


def export(folder: Path, *documents: Any) -> str:
    path = folder / "export.json"
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return str(path)


def imported(settings: Settings, folder: Path, *documents: Any) -> tuple[int, str, str]:
    return run(["import-rocketchat", export(folder, *documents)], environment_of(settings), folder)


def canonical(value: Any) -> Any:
    """The value as `mongoexport --jsonFormat=canonical` writes it."""
    if isinstance(value, dict):
        return {name: canonical(item) for name, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    return {"$numberInt": str(value)} if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize("form", ["relaxed", "canonical"])
def test_a_server_moves_over(form: str, process: Process, shell: Shell, settings: Settings, tmp_path: Path) -> None:
    documents = DOCUMENTS if form == "relaxed" else [canonical(document) for document in DOCUMENTS]
    status, out, err = imported(settings, tmp_path, *documents)
    assert (status, out) == (0, "Imported: 1 inbox, 1 user, 1 token.\nLeft out: 2 documents (0 with errors).\n")
    assert err.splitlines() == ["line 3, rocket.cat: a bot or an app", "line 4, a-setting: neither an inbox nor a user"]
    inbox = process.client.get("/api/v1/email-inbox/JdVkn_dkOlms_").json()
    assert (inbox["email"], inbox["smtp"]["port"], inbox["imap"]["maxRetries"]) == ("support@chat.example", 465, -1)
    alice = {"X-User-Id": ALICE["_id"], "X-Auth-Token": TOKEN}
    assert process.client.get("/api/v1/email-inbox.list", headers=alice).json()["total"] == 1

    (tmp_path / "array.json").write_text(json.dumps(documents[:2], indent=2))
    assert shell("import-rocketchat", str(tmp_path / "array.json")) == "Imported: 1 inbox, 1 user, 0 tokens."
    assert process.client.get("/api/v1/email-inbox.list").json()["total"] == 1


def test_one_odd_document_keeps_no_other_one_out(settings: Settings, shell: Shell, tmp_path: Path) -> None:
    odd = [
        {**INBOX, "_id": "broken", "email": "nobody"},
        {**ALICE, "_id": "b" * 17, "username": "two words"},
        {**ALICE, "_id": "c" * 17, "username": "ALICE", "emails": []},
        {"_id": 7, "username": "seven"},
        {"username": "eight", "emails": 1, "roles": "admin", "services": {"resume": []}},
        {"_id": "nine", "smtp": 1, "imap": None},
    ]
    others = [{"_id": f"{number:017}", "username": f"user-{number}"} for number in range(3)]
    status, out, err = imported(settings, tmp_path, INBOX, odd[0], ALICE, *odd[1:4], others[0], *odd[4:], *others[1:])
    assert (status, out.splitlines()) == (
        1,
        ["Imported: 1 inbox, 5 users, 1 token.", "Left out: 5 documents (5 with errors)."],
    )
    assert {line.split(":")[0] for line in err.splitlines()} == {
        "line 2, broken", "line 4, bbbbbbbbbbbbbbbbb", "line 5, ccccccccccccccccc", "line 6, 7", "line 9, nine",
    }  # fmt: skip
    assert "line 2, broken: email must be" in err
    assert "line 5, ccccccccccccccccc: username is already used by another user" in err
    listed = shell("user", "list")
    assert all(f"\t{name}\t" in listed for name in ("alice", "user-0", "user-1", "user-2", "eight"))
    assert shell("inbox", "list").count("\n") == 1


@pytest.mark.parametrize("exported", [b"", b"\n\n", b"[]", b"\xff\xfe", b"\xef\xbb\xbf"])
def test_a_file_without_documents_makes_no_database(exported: bytes, tmp_path: Path) -> None:
    (tmp_path / "export.json").write_bytes(exported)
    command = ["import-rocketchat", "export.json"]
    status, out, err = run(command, {"EMAIL_INBOX_DATA_DIR": str(tmp_path / "data")}, tmp_path)
    assert (status, out) == (1, "")
    assert "holds no documents" in err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "exported", [b"{", b"[1]", b"\x00", b"PK\x03\x04\xff\xfe", b'[{"_id": {"$oid": ["1"]}, "username": "x"}]']
)
def test_what_can_not_be_read_is_left_out(exported: bytes, alone: Settings, tmp_path: Path) -> None:
    (tmp_path / "export.json").write_bytes(exported)
    status, out, err = run(["import-rocketchat", "export.json"], environment_of(alone), tmp_path)
    assert (status, out.splitlines()[0]) == (1, "Imported: 0 inboxes, 0 users, 0 tokens.")
    assert err.startswith("line 1, no _id: ")
    assert "Traceback" not in err


def test_what_is_printed_is_safe_at_a_terminal(alone: Settings, tmp_path: Path) -> None:
    evil = "a\x1b]0;owned\x07\u202e\r\n\x9b2J"
    status, out, err = imported(alone, tmp_path, {**ALICE, "_id": evil}, {"_id": evil}, {**ALICE, "_id": "x" * 10_000})
    assert status == 1
    assert set(out + err) & set("\x1b\x07\u202e\r\x9b") == set()
    assert r"line 1, a\x1b]0;owned\x07\u202e\r\n\x9b2J: " in err
    assert len(err) < 1_000


def test_the_last_who_manages_users_stays_one(alone: Settings, tmp_path: Path) -> None:
    admin = {"_id": ADMIN_ID, "username": "admin", "roles": []}
    status, _, err = imported(alone, tmp_path, admin)
    assert (status, "line 1, " + ADMIN_ID + ": This is the last active user" in err) == (1, True)
    assert imported(alone, tmp_path, ALICE, admin)[0] == 0
    assert imported(alone, tmp_path, {**ALICE, "active": False})[0] == 1


def test_tokens_of_a_disabled_user_are_not_taken_over(process: Process, settings: Settings, tmp_path: Path) -> None:
    alice = {"X-User-Id": ALICE["_id"], "X-Auth-Token": TOKEN}
    assert imported(settings, tmp_path, ALICE)[1] == "Imported: 0 inboxes, 1 user, 1 token.\n"
    assert process.client.get("/api/v1/me", headers=alice).status_code == 200
    assert imported(settings, tmp_path, {**ALICE, "active": False})[1] == "Imported: 0 inboxes, 1 user, 0 tokens.\n"
    update = "mutation($input: UpdateUserInput!) { updateUser(input: $input) { success } }"
    assert process.graphql(update, input={"id": ALICE["_id"], "active": True})["data"]["updateUser"]["success"]
    assert process.client.get("/api/v1/me", headers=alice).status_code == 401


def boxes(count: int) -> list[dict[str, Any]]:
    return [
        {"_id": f"imported-{number:03}", **inbox_values(email=f"imported-{number:03}@chat.example")}
        for number in range(count)
    ]


async def test_a_server_writes_between_the_batches(settings: Settings, tmp_path: Path) -> None:
    """Told by the order of the changes, which is that of the commits."""
    with serving(environment_of(settings), tmp_path) as process, writing(process) as acknowledged:
        until(lambda: len(acknowledged) > 2)
        command = ["import-rocketchat", export(tmp_path, *boxes(200))]
        patched = {"resolvers.rocketchat.BATCH_DOCUMENTS": 10}
        status, out, _ = run(command, environment_of(settings), tmp_path, patched=patched)
    assert (status, out) == (0, "Imported: 200 inboxes, 0 users, 0 tokens.\n")
    async with open_database(settings.url) as database:
        found = await database.read(select(EmailInboxChange.inbox_id).order_by(EmailInboxChange.seq))  # type: ignore[arg-type]
    runs = [
        len(list(names)) for ours, names in itertools.groupby(found, lambda name: name.startswith("imported-")) if ours
    ]
    assert sum(runs) == 200
    assert max(runs) < 200 / 2
    assert len(runs) > 5


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_a_transaction_ends_when_its_time_is_over(seconds: float, alone: Settings, tmp_path: Path) -> None:
    """Each commit is a step that a process may die at: with no time left, every document has one of its own."""
    patched = {"resolvers.rocketchat.BATCH_SECONDS": seconds, "resolvers.rocketchat.PAUSE_SECONDS": 0.0}
    command, environment = ["import-rocketchat", export(tmp_path, *boxes(20))], environment_of(alone)
    # The first step is the registration of the keys.
    status, *_ = run(command, environment, tmp_path, patched=patched, dies_at=11)
    assert status == (-9 if seconds == 0 else 0)


async def test_killed_at_any_step_the_next_import_completes_it(alone: Settings, tmp_path: Path) -> None:
    patched = {"resolvers.rocketchat.BATCH_DOCUMENTS": 4, "resolvers.rocketchat.PAUSE_SECONDS": 0.0}
    command = ["import-rocketchat", export(tmp_path, *boxes(12), ALICE)]
    for step in itertools.count():
        folder = tmp_path / f"copy-{step}"
        settings = settings_for(shutil.copytree(alone.data_dir, folder))
        status, out, _ = run(command, environment_of(settings), tmp_path, patched=patched, dies_at=step)
        stored = len(await inboxes_of(settings))
        assert stored % 4 == 0
        if status == 0:
            break
        assert (status, out) == (-9, "")
        assert run(command, environment_of(settings), tmp_path, patched=patched)[0] == 0
        assert len(await inboxes_of(settings)) == 12
    assert step >= 4


async def test_an_interruption_says_what_is_imported(alone: Settings, tmp_path: Path) -> None:
    patched = {"resolvers.rocketchat.BATCH_DOCUMENTS": 2, "resolvers.rocketchat.PAUSE_SECONDS": 60.0}
    # What runs in the background of a shell ignores the signal, and so do its children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start(
        ["import-rocketchat", export(tmp_path, *boxes(6))], environment_of(alone), tmp_path, patched=patched
    )
    signal.signal(signal.SIGINT, before)
    try:
        while len(await inboxes_of(alone)) < 2:
            assert process.poll() is None
        process.signal(signal.SIGINT)
        assert process.wait() != 0
    finally:
        process.kill()
    assert process.out == "Imported: 2 inboxes, 0 users, 0 tokens.\n"
    assert "run it again to continue" in process.err
    assert "Traceback" not in process.err
