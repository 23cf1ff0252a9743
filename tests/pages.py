"""Parses the pages of the documentation: their blocks, examples and tables."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "HACKING.md", "CHANGELOG.md", "web/README.md", "clients/README.md")),
    *sorted(DOCS.rglob("*.md")),
]
PRINTED = "http://127.0.0.1:3000"
"""The address in the pages, which is that of a default server."""
VARYING = re.compile(r"_?id|\w*[iI]d|\w*At|\w*[cC]ursor|\w*[tT]oken")
"""Names of fields that differ from server to server: ids, times, cursors and tokens."""


@dataclass(frozen=True)
class Block:
    """A fenced block. `label` is the last line of text before it."""

    language: str
    text: str
    label: str

    @property
    def first(self) -> str:
        return self.text.partition("\n")[0]


@dataclass
class Example:
    """An example of a page, with the expected response."""

    text: str
    variables: dict[str, Any] = field(default_factory=dict)
    answer: Any = None
    status: int = 200

    @property
    def is_subscription(self) -> bool:
        return self.text.startswith("subscription")


def blocks(page: Path) -> Iterator[Block]:
    label, language = "", None
    lines: list[str] = []
    for line in page.read_text("utf-8").splitlines():
        if language is None:
            if line.startswith("```"):
                language, lines = line[3:], []
            elif line.strip():
                label = line.strip()
        elif line == "```":
            yield Block(language, "\n".join(lines), label)
            language, label = None, ""
        else:
            lines.append(line)


def examples(page: Path, language: str, start: str = "") -> list[Example]:
    """Returns the blocks of a language that begin with `start`, each with the variables and response that follow it."""
    found: list[Example] = []
    for block in blocks(page):
        if block.language == language and block.text.startswith(start):
            found.append(Example(block.text))
        elif found:
            add(found[-1], block)
    return found


def add(example: Example, block: Block) -> bool:
    """Adds the block to the example if it holds its variables or response. Returns whether it does."""
    if block.language == "json" and re.match("Variables\\b", block.label):
        example.variables = json.loads(block.text)
        return True
    shown = re.fullmatch(r"(?:Answer|First message)(?:, (\d+))?:", block.label)
    if block.language == "json" and shown:
        example.answer, example.status = json.loads(block.text), int(shown[1] or 200)
        return True
    return False


def table(page: Path, *header: str) -> list[list[str]]:
    """Returns the rows of the table whose header begins with these cells."""
    rows: list[list[str]] = []
    inside = False
    for line in page.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if tuple(cells[: len(header)]) == header:
            inside = True
        elif inside and not cells:
            return rows
        elif inside and set(cells[0]) != {"-"}:
            rows.append(cells)
    assert rows, f"{page} has no table {header}"
    return rows


def quoted(text: str) -> list[str]:
    """Returns the texts in backticks."""
    return re.findall(r"`([^`]+)`", text)


class Comparison:
    """Compares responses with those of a page, and maps the ids of the page to those of this server."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def hold(self, shown: Any, actual: Any, name: str = "") -> None:
        if isinstance(shown, dict) and isinstance(actual, dict):
            assert list(shown) == list(actual), name
            for key, value in shown.items():
                self.hold(value, actual[key], key)
        elif isinstance(shown, list) and isinstance(actual, list):
            assert len(shown) == len(actual), (name, shown, actual)
            for one, other in zip(shown, actual, strict=True):
                self.hold(one, other, name)
        elif shown != actual:
            assert VARYING.fullmatch(name), (name, shown, actual)
            assert isinstance(shown, str)
            assert isinstance(actual, str)
            assert self.known.setdefault(shown, actual) == actual

    def translated(self, value: Any) -> Any:
        """Returns the value with the ids of this server."""
        text = json.dumps(value)
        for shown, actual in self.known.items():
            text = text.replace(json.dumps(shown), json.dumps(actual))
        return json.loads(text)
