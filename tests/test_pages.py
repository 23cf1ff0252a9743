"""Every block of every page runs as a reader pastes it: page after page in the order of the README, on one server.

What can't run here is listed, with the reason; what can be held to something else is.
"""

import asyncio
import configparser
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from settings import Settings
from tests.conftest import IN_CI
from tests.pages import DOCS, PRINTED, ROOT, Block, Comparison, Example, add, blocks
from tests.process import environment_of, serving, until
from tests.running import ADMIN_HEADERS, ADMIN_ID, ADMIN_TOKEN, PUBLIC_URL
from tests.sockets import connected

MARK = "-- the end of a block:"
STREAM_SECONDS = 3
NOT_RUN = {
    "make run     # sets everything up, then serves on http://127.0.0.1:3000": "the server runs already",
    "python3 -m venv mail && mail/bin/pip install aiosmtpd pymap": "both are in the tests' environment",
    "EMAIL_INBOX_MAIL_HOSTS_ALLOW=127.0.0.1 EMAIL_INBOX_MAIL_PORTS=+1143,8025 make run": "it is set so already",
    "npx @hey-api/openapi-ts -i http://127.0.0.1:3000/api/v1/openapi.json -o inbox-client": "npx downloads a program",
    "map $http_upgrade $connection_upgrade { default upgrade; '' close; }": "nginx is not installed",
    "sudo /opt/email-inbox/email-inbox --env-file /etc/email-inbox.env user list": "no service is installed",
    "# 1. stop the server": "tests/test_backup.py restores",
    "psql -U postgres -c \"CREATE ROLE email_inbox LOGIN PASSWORD 'choose-one'\" \\": "tests have their own",
    "mongoexport -d rocketchat -c rocketchat_email_inbox >  export.json": "MongoDB is not installed",
}
"""What is not run, by its first line, and why."""


def pages_in_order() -> list[Path]:
    """The README, and the pages in the order of its table."""
    readme = ROOT / "README.md"
    read_on = readme.read_text("utf-8").partition("## Read on")[2]
    return [readme, *(ROOT / link for link in re.findall(r"^\| \[[^\]]+\]\(([^)]+\.md)\)", read_on, re.MULTILINE))]


def all_blocks() -> list[tuple[Path, Block]]:
    pages = [*pages_in_order(), ROOT / "clients" / "README.md", ROOT / "web" / "README.md"]
    return [(page, block) for page in dict.fromkeys(pages) for block in blocks(page)]


def test_what_is_not_run_is_still_on_a_page() -> None:
    assert set(NOT_RUN) - {block.first for _, block in all_blocks()} == set()


def test_every_page_is_read() -> None:
    pages = {page for page, _ in all_blocks()}
    assert {page for page in DOCS.glob("*.md") if list(blocks(page))} - pages == set()


class Shell:
    """One bash, into which a reader pastes block after block."""

    def __init__(self, address: str, environment: dict[str, str], folder: Path) -> None:
        (folder / ".curlrc").write_text('silent\nwrite-out = "\\n%{http_code}"\n')
        self._folder = folder
        self._address = address
        self._bash = subprocess.Popen(
            ["bash", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "CURL_HOME": str(folder), **environment},
            text=True,
            start_new_session=True,
        )

    def paste(self, text: str) -> tuple[str, int]:
        """What a block prints, and the status that it ends with."""
        text = text.replace(PRINTED, self._address).replace("http://localhost:3000", self._address)
        text = text.replace("mail/bin/", f"{ROOT}/.venv/bin/").replace("/backup/", f"{self._folder}/")
        if "curl -N" in text:  # it never ends by itself
            text = f"timeout {STREAM_SECONDS} {text}; [ $? = 124 ]"
        assert self._bash.stdin
        assert self._bash.stdout
        self._bash.stdin.write(f'{text}\nprintf "\\n%s %s\\n" "{MARK}" $?\n')
        self._bash.stdin.flush()
        printed: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(MARK):
                return "".join(printed), int(line.removeprefix(MARK))
            printed.append(line)
        raise AssertionError("".join(printed))

    def close(self) -> None:
        os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.wait()
        for stream in (self._bash.stdin, self._bash.stdout):
            if stream:
                stream.close()


def is_json(text: str) -> bool:
    """Whether it is a document, or one on each line, as in a log."""
    for documents in ([text], text.splitlines()):
        with suppress(ValueError):
            return bool([json.loads(document) for document in documents])
    return False


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Reader:
    """Somebody who reads page after page, and tries everything."""

    def __init__(self, shell: Shell, process: Any) -> None:
        self.shell = shell
        self.process = process
        self.comparison = Comparison()
        self.last: Any = {}

    def read(self, page: Path, block: Block, example: Example) -> None:
        match block.language:
            case "sh":
                self._paste(page, example, block)
            case "graphql":
                self._ask(page, example)
            case "json":
                assert is_json(block.text), (page, block.text)
            case "yaml":
                assert yaml.safe_load(block.text)
            case "ini":
                configparser.ConfigParser(strict=False, interpolation=None).read_string(block.text)
            case "python":
                compile(block.text, str(page), "exec")
            case "ts" | "js":
                assert page == DOCS / "clients.md", "tests/test_clients.py runs the files that these stand in"
            case _:
                raise AssertionError(f"{page} has a block that nothing runs: {block.first}")

    def _paste(self, page: Path, example: Example, block: Block) -> None:
        if all(re.fullmatch(r"[A-Z_]+=\S+", line) for line in block.text.splitlines()):
            return  # settings: tests/test_docs.py holds their names
        if found := re.fullmatch(r"export (\w+)=…  (\w+)=….*", block.text):
            self.shell.paste(f"export {found[1]}='{self._value('userId')}' {found[2]}='{self._value('authToken')}'")
            return
        printed, status = self.shell.paste(block.text)
        assert status == 0, (page, block.text, printed)
        if re.search(r"&\s", block.text):
            for port in re.findall(r"127\.0\.0\.1(?::| --port )(\d+)", block.text):
                until(partial(answers, int(port)))
        if example.answer is not None:
            # Beside the answer of curl, a mail server prints what it was sent.
            shown = re.search(r"^(\{.*\})\n(\d{3})$", printed, re.MULTILINE)
            assert shown, (page, block.text, printed)
            self.last = json.loads(shown[1])
            assert int(shown[2]) == example.status, (page, block.text, printed)
            self.comparison.hold(example.answer, self.last)

    def _value(self, name: str) -> str:
        """What a login answered; at first, what the first start printed."""
        data = self.last.get("data", {})
        return str(data.get(name, {"userId": ADMIN_ID, "authToken": ADMIN_TOKEN}[name]))

    def _ask(self, page: Path, example: Example) -> None:
        if page != DOCS / "graphql.md":
            return  # operations of the clients, which tests/test_clients.py runs
        variables = self.comparison.translated(example.variables)
        if example.is_subscription:
            answer = asyncio.run(self._follow(example.text, variables))
        else:
            body = {"query": example.text, "variables": variables}
            answer = self.process.client.post("/graphql", json=body, headers=self._credentials(example)).json()
        assert "errors" not in answer, (example.text, answer)
        self.comparison.hold(example.answer, answer)

    def _credentials(self, example: Example) -> dict[str, str]:
        """Those of the administrator; a login is ended by its own token, as the page says."""
        if "logout" not in example.text:
            return ADMIN_HEADERS
        [token] = [known for shown, known in self.comparison.known.items() if len(shown) == len(known) == 43]
        return {"X-User-Id": "", "X-Auth-Token": "", "Authorization": f"Bearer {token}"}

    async def _follow(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        async with connected(self.process.address.replace("http", "ws", 1) + "/graphql") as subscriber:
            await subscriber.start(query, **variables)
            return {"data": await subscriber.next()}


@contextmanager
def reading(settings: Settings, folder: Path) -> Iterator[Reader]:
    allowed = {"EMAIL_INBOX_MAIL_HOSTS_ALLOW": "127.0.0.1", "EMAIL_INBOX_MAIL_PORTS": "+1143,8025"}
    environment = {**environment_of(settings), **allowed, "EMAIL_INBOX_PUBLIC_URL": PUBLIC_URL}
    with serving(environment, folder) as process:
        shell = Shell(process.address, environment, folder)
        try:
            yield Reader(shell, process)
        finally:
            shell.close()


@pytest.mark.timeout(180)
def test_every_block_of_every_page_runs_as_a_reader_pastes_it(settings: Settings, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        assert not IN_CI, "curl is compulsory in CI"
        pytest.skip("curl is not installed")
    with reading(settings, tmp_path) as reader:
        left = all_blocks()
        while left:
            page, block = left.pop(0)
            example = Example(block.text)
            while block.language != "json" and left and left[0][0] == page and add(example, left[0][1]):
                left.pop(0)
            if block.first not in NOT_RUN:
                reader.read(page, block, example)
