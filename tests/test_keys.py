"""Encryption at rest: where a value belongs, and the turning over to a new key, whatever comes in between."""

import asyncio
import itertools
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url
from sqlmodel import select

from models.database import open_database
from models.inbox import EmailInbox
from models.key import EncryptionKey
from models.keyfile import KeyFile
from models.secrets import DecryptionError, Key, Keyring, Place, Secret, new_key
from models.stored import PROTOCOLS, secret_place
from settings import Settings
from tests import postgresql
from tests.api import SET
from tests.inboxes import inbox_values
from tests.process import PLAIN, Process, environment_of, run, serving, start
from tests.running import ADMIN_HEADERS, settings_for
from tests.stored import fill, inboxes_of, keyring_of, passwords_of, stored_of

SMALL_BATCHES = {"models.key.ROTATION_BATCH_SIZE": 15}


class Rotation:
    """`keys rotate`, and what is stored before and after."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.file = KeyFile(settings.data_dir / "secret.key")
        self._environment, self._folder = environment_of(settings), folder

    def run(self, **more: Any) -> tuple[int, str, str]:
        return run(["keys", "rotate"], self._environment, self._folder, **more)

    def start(self) -> Process:
        return start(["keys", "rotate"], self._environment, self._folder, patched=SMALL_BATCHES)

    @property
    def file_ids(self) -> list[bytes]:
        return [key.id for key in KeyFile.keys(self.file)]

    async def used_ids(self) -> set[bytes]:
        """The ids of the keys that stored values were encrypted with."""
        inboxes = await inboxes_of(self.settings)
        return {getattr(inbox, f"{protocol}_password")[:8] for inbox in inboxes for protocol in PROTOCOLS}

    async def known_ids(self) -> set[bytes]:
        """The ids of the keys that the database says it needs."""
        async with open_database(self.settings.url) as database:
            return {bytes.fromhex(key_id) for key_id in await database.read(select(EncryptionKey.id))}

    async def nothing_is_lost(self, count: int) -> None:
        keyring = keyring_of(self.settings)
        inboxes = await inboxes_of(self.settings)
        assert len(inboxes) == count
        for inbox in inboxes:
            assert passwords_of(inbox, keyring) == (f"smtp-{inbox.id}", f"imap-{inbox.id}")


@pytest.fixture
def rotation(settings: Settings, tmp_path: Path) -> Rotation:
    return Rotation(settings, tmp_path)


async def test_every_value_is_encrypted_anew_while_the_server_works(rotation: Rotation, tmp_path: Path) -> None:
    await fill(rotation.settings, 40)
    (old,) = rotation.file_ids
    with serving(environment_of(rotation.settings), tmp_path) as process:
        assert rotation.run(patched=SMALL_BATCHES) == (0, "40 inboxes re-encrypted.\n", "")
        new = rotation.file_ids[0]
        assert rotation.file_ids == [new, old]
        assert await rotation.used_ids() == {new}
        values = inbox_values(id="later", smtp__password="smtp-later", imap__password="imap-later")
        assert process.graphql(SET, input=values)["data"]["setEmailInbox"]["success"]
        assert await rotation.used_ids() == {new}
    await rotation.nothing_is_lost(41)
    assert (rotation.file.path.stat().st_mode & 0o777) == 0o600
    with serving(environment_of(rotation.settings), tmp_path):
        pass


async def test_an_old_key_is_dropped_once_nothing_needs_it(rotation: Rotation) -> None:
    await fill(rotation.settings, 3)
    (first,) = rotation.file_ids
    rotation.run()
    second = rotation.file_ids[0]
    await _store(rotation.settings, "box-0001", KeyFile(rotation.file.path).keys()[1])

    # The first key is needed again, so this goes on with the second one.
    assert rotation.run()[1] == "1 inbox re-encrypted.\n"
    assert rotation.file_ids == [second, first]
    assert await rotation.known_ids() == {second, first}

    assert rotation.run()[1] == "3 inboxes re-encrypted.\n"
    third = rotation.file_ids[0]
    assert rotation.file_ids == [third, second]
    assert await rotation.known_ids() == {third, second}
    await rotation.nothing_is_lost(3)


async def _store(settings: Settings, inbox_id: str, key: Key) -> None:
    """Stores a password with this key, as a server does that was in the middle of writing when the keys changed."""

    def unit(session: Any) -> None:
        inbox = session.get(EmailInbox, inbox_id)
        inbox.smtp_password = key.encrypt(
            Secret(f"smtp-{inbox_id}"), secret_place(stored_of(inbox), "smtp", "password")
        )

    async with open_database(settings.url) as database:
        await database.write(unit)


async def test_killed_at_any_step_nothing_is_lost_and_the_next_call_goes_on(
    settings: Settings, copied: Callable[[], Settings], tmp_path: Path
) -> None:
    await fill(settings, 20)
    for step in itertools.count():
        rotation = Rotation(copied(), tmp_path)
        (old,) = rotation.file_ids
        status, _, err = rotation.run(patched=SMALL_BATCHES, dies_at=step)
        await rotation.nothing_is_lost(20)
        if status == 0:
            break
        assert (status, err) == (-9, "")
        assert set(await rotation.known_ids()) <= set(rotation.file_ids)
        status, out, err = rotation.run()
        assert (status, err) == (0, "")
        await rotation.nothing_is_lost(20)
        new, *older = rotation.file_ids
        assert await rotation.used_ids() == {new} != {old}
        assert older in ([], [old]) or out == "20 inboxes re-encrypted.\n"
    assert step >= 12


@pytest.fixture
def copied(settings: Settings, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Settings]:
    """Copies the server's folder and database at each call."""
    names = (f"copy_{os.getpid()}_{number}" for number in itertools.count())
    if settings.database_url is None:
        return lambda: settings_for(shutil.copytree(settings.data_dir, tmp_path / next(names)))
    cluster: postgresql.Cluster = request.getfixturevalue("cluster")
    template = make_url(settings.url).database

    def copy() -> Settings:
        name = next(names)
        return settings_for(shutil.copytree(settings.data_dir, tmp_path / name), cluster.create(name, str(template)))

    return copy


async def test_killed_while_the_server_writes_nothing_is_lost(rotation: Rotation, tmp_path: Path) -> None:
    await fill(rotation.settings, 200)
    kills = 0
    with serving(environment_of(rotation.settings), tmp_path) as process, writing(process) as acknowledged:
        while kills < 5:
            killed = rotation.start()
            await asyncio.sleep(random.uniform(0.1, 0.5))  # any moment
            kills += killed.poll() is None
            killed.kill()
        assert rotation.run(patched=SMALL_BATCHES)[0] == 0
        assert len(acknowledged) > 5
    await rotation.nothing_is_lost(200 + len({name for name in acknowledged if not name.startswith("box-")}))
    assert await rotation.used_ids() <= set(rotation.file_ids)


@contextmanager
def writing(process: Process) -> Iterator[list[str]]:
    """Creates and replaces inboxes without a pause, and gives the ids of those that were acknowledged."""
    acknowledged: list[str] = []
    ended = threading.Event()

    def write() -> None:
        with httpx.Client(base_url=process.address, headers=ADMIN_HEADERS, verify=PLAIN) as client:
            for number in itertools.count():
                if ended.is_set():
                    return
                name = f"box-{number % 200:04}" if number % 2 else f"new-{number}"
                passwords = {"smtp__password": f"smtp-{name}", "imap__password": f"imap-{name}"}
                values = inbox_values(id=name, email=f"{name}@example.org", **passwords)
                answer = client.post("/graphql", json={"query": SET, "variables": {"input": values}})
                assert answer.json()["data"]["setEmailInbox"]["success"]
                acknowledged.append(name)

    with ThreadPoolExecutor() as pool:
        writer = pool.submit(write)
        try:
            yield acknowledged
        finally:
            ended.set()
        writer.result()


async def test_of_two_rotations_at_once_one_is_refused(rotation: Rotation) -> None:
    before = rotation.file.path.read_bytes()
    with rotation.file.changing():
        assert rotation.run() == (1, "", "Another process is changing the keys: wait for it to end.\n")
    assert rotation.file.path.read_bytes() == before
    assert rotation.run()[0] == 0


async def test_a_value_that_is_damaged_is_named_and_nothing_is_dropped(rotation: Rotation) -> None:
    await fill(rotation.settings, 3)
    before = rotation.file_ids
    await _store(rotation.settings, "box-0001", _Strange(rotation.file.keys()[0]))
    status, out, err = rotation.run()
    assert (status, out) == (1, "")
    assert err == "The smtp_password of inbox box-0001 can't be decrypted: set it anew, then rotate again.\n"
    assert rotation.file_ids[1:] == before


class _Strange(Key):
    """Encrypts for another place, under the id of a key that is known."""

    def __init__(self, key: Key) -> None:
        self.id, self._key = key.id, key

    def encrypt(self, value: Secret, place: Place) -> bytes:
        return self._key.encrypt(value, Place(place.table, "elsewhere", place.column, place.bound_to))


async def test_keys_that_are_set_are_turned_over_too(settings: Settings, tmp_path: Path) -> None:
    await fill(settings, 3)
    old, new = settings.data_dir.joinpath("secret.key").read_text().strip(), new_key()
    rotation = Rotation(settings, tmp_path)

    def outcome(command: list[str], *keys: str) -> tuple[int, str]:
        environment = environment_of(settings, EMAIL_INBOX_SECRET_KEYS=",".join(keys))
        status, out, err = run(command, environment, tmp_path)
        return status, out or err

    assert outcome(["keys", "rotate"], new, old) == (0, "3 inboxes re-encrypted.\n")
    assert await rotation.used_ids() == {Key.parse(new).id}
    # A server could still be using the old key: it is let go by the next call.
    assert "was encrypted with key" in outcome(["inbox", "list"], new)[1]
    assert outcome(["keys", "rotate"], new, old) == (0, "0 inboxes re-encrypted.\n")
    assert await rotation.known_ids() == {Key.parse(new).id}
    assert outcome(["inbox", "list"], new)[0] == 0
    assert settings.data_dir.joinpath("secret.key").read_text().strip() == old


async def test_a_value_is_worth_nothing_in_another_place(settings: Settings) -> None:
    await fill(settings, 3)
    keyring = keyring_of(settings)
    inboxes = await inboxes_of(settings)
    values = {
        secret_place(stored_of(inbox), protocol, "password"): getattr(inbox, f"{protocol}_password")
        for inbox in inboxes
        for protocol in PROTOCOLS
    }
    for (place, _), (other, value) in itertools.product(values.items(), values.items()):
        if place == other:
            assert keyring.decrypt(value, place).reveal()
        else:
            with pytest.raises(DecryptionError):
                keyring.decrypt(value, place)


def test_a_value_that_was_changed_anywhere_is_refused() -> None:
    key, place = Key(bytes(32)), Place("email_inbox", "a", "smtp_password")
    keyring = Keyring(lambda: [key])
    value = key.encrypt(Secret("secret"), place)
    for index in range(len(value)):
        changed = bytes(byte ^ (number == index) for number, byte in enumerate(value))
        for wrong in (changed, value[:index]):
            with pytest.raises(DecryptionError):
                keyring.decrypt(wrong, place)


def test_no_value_is_stored_twice_the_same_way() -> None:
    key, place = Key(bytes(32)), Place("email_inbox", "a", "smtp_password")
    assert len({key.encrypt(Secret("secret"), place) for _ in range(1_000)}) == 1_000


def test_without_its_key_file_a_server_writes_no_password(settings: Settings, tmp_path: Path) -> None:
    with serving(environment_of(settings), tmp_path) as process:
        path, aside = settings.data_dir / "secret.key", tmp_path / "aside"
        path.rename(aside)
        answers = [
            process.client.post("/graphql", json={"query": SET, "variables": {"input": inbox_values()}}),
            process.client.post("/api/v1/email-inbox", json=inbox_values()),
        ]
        for answer in answers:
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert "secret.key" not in answer.text
        assert process.client.get("/api/v1/email-inbox.list").json()["total"] == 0
        aside.rename(path)
        assert process.client.post("/api/v1/email-inbox", json=inbox_values()).status_code == 200
