"""Names: one name means one thing in the whole house."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from graphql import GraphQLSchema

from rest import openapi_document
from schema import build_schema
from tests.pages import ROOT, table
from tests.test_docs import CODE

SHARED = {
    "count": "a statement of each table",
    "log": "structlog's logger",
    "prune": "a statement of each table",
    "store": "a statement of each table",
    "to_response": "an answer over HTTP, of each API",
}
"""Names that are public in two modules, reached as `module.name`, and why."""
MAX_SHARED = 8
MAX_GLOSSARY = 12
ODD = re.compile(r"(^|_)(told|shown|printed|whoever|nobody|somebody)(_|$)", re.IGNORECASE)


def modules() -> list[Path]:
    files = [ROOT / name for name in ("server.py", "settings.py", "interpreter.py")]
    return files + sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py"))


def defined(path: Path) -> Iterator[str]:
    """The names of functions, classes and constants at the top of a module."""
    for node in ast.parse(path.read_text("utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name


def names_of_apis() -> set[str]:
    """Types and fields of GraphQL, and schemas of the OpenAPI document: nouns that each floor has, under one name."""
    schema: GraphQLSchema = build_schema()._schema
    roots = [root for root in (schema.query_type, schema.mutation_type, schema.subscription_type) if root]
    fields = {re.sub("([A-Z])", lambda found: f"_{found[1].lower()}", name) for root in roots for name in root.fields}
    schemas = openapi_document()["components"]["schemas"]
    return {*schema.type_map, *fields, *schemas}


def test_no_name_is_public_in_two_modules() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for path in modules():
        for name in defined(path):
            if not name.startswith("_"):
                found[name].append(str(path.relative_to(ROOT)))
    twice = {name: paths for name, paths in found.items() if len(paths) > 1 and name not in names_of_apis()}
    assert {name: paths for name, paths in twice.items() if name not in SHARED} == {}
    assert set(SHARED) <= set(twice), "an exception that is none"
    assert len(SHARED) <= MAX_SHARED


def test_functions_and_constants_are_called_by_what_they_do() -> None:
    names = names_of_apis()
    odd = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules()
        for name in {
            *defined(path),
            *(
                node.name
                for node in ast.walk(ast.parse(path.read_text("utf-8")))
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            ),
        }
        if ODD.search(name) and name not in names
    ]
    assert odd == []


def test_the_words_that_are_ours_are_few_and_used() -> None:
    words = [row[0] for row in table(ROOT / "HACKING.md", "word", "means")]
    assert 0 < len(words) <= MAX_GLOSSARY
    code = "\n".join(path.read_text("utf-8") for path in modules())
    assert [word for word in words if not re.search(rf"\b{re.escape(word)}", code, re.IGNORECASE)] == []
