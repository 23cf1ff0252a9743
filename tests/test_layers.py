"""What the layers must not do, and no list of imports says: hide state, name paths, open transactions."""

import ast
import enum
import importlib
import inspect
import json
import pkgutil
import re
import types
import typing
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import fields, is_dataclass
from datetime import timedelta, tzinfo
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import limits
import pytest
import structlog
from grimp import ImportGraph

import cli
import edge
import resolvers
from edge.admission import ASIDE
from edge.credentials import context_of
from resolvers.context import Context, no_caller
from tests.layers import OnlyImports
from tests.process import ROOT

FLOORS = ("models", "mail", "resolvers", "edge", "schema", "rest", "cli", "runners")
PLAIN = (str, bytes, int, float, bool, types.NoneType, enum.Enum, re.Pattern, timedelta, tzinfo, Path)
"""What holds no state: none of them can be changed."""
FOREIGN = (
    types.ModuleType,
    types.GenericAlias,
    types.UnionType,
    typing.TypeVar,
    typing.ParamSpec,
    json.JSONDecoder,
    limits.RateLimitItem,
    nullcontext,
)
"""What of libraries is none either. A look at `typing.Any` and its like comes by the name of their module."""


def modules_of(*packages: types.ModuleType) -> list[str]:
    return [
        found.name for package in packages for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    ]


def sources_of(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def holds_no_state(value: Any) -> bool:
    """Whether it can't be changed, nor anything in it."""
    if isinstance(value, (tuple, frozenset)):
        return all(map(holds_no_state, value))
    if isinstance(value, types.MappingProxyType):
        return all(map(holds_no_state, value.values()))
    if is_dataclass(value) and not isinstance(value, type):
        return bool(value.__dataclass_params__.frozen)  # type: ignore[attr-defined]
    if isinstance(value, type) or inspect.isfunction(value) or inspect.isbuiltin(value):
        return True
    is_known = isinstance(value, (*PLAIN, *FOREIGN)) or type(value) is type(structlog.get_logger())
    return is_known or type(value).__module__ in ("typing", "typing_extensions")


def state_in(names: dict[str, Any], of: str) -> Iterator[str]:
    """What of these is state, with what the classes made in the module `of` share."""
    for name, value in names.items():
        if name.startswith("__"):
            continue
        if isinstance(value, type) and value.__module__ == of and not issubclass(value, enum.Enum):
            yield from (f"{name}.{found}" for found in state_in(_shared(value), of))
        if not holds_no_state(value):
            yield name


def _shared(kind: type) -> dict[str, Any]:
    """What is written in the class but descriptors, such as its methods."""
    return {
        name: value
        for name, value in vars(kind).items()
        if not hasattr(value, "__get__") and not name.startswith(("_abc_", "_is_"))
    }


@pytest.mark.parametrize("module", modules_of(edge, resolvers))
def test_no_module_of_edge_and_resolvers_holds_state(module: str) -> None:
    """What is there as long as a process is made by `server.py` and handed down, so that two servers share nothing."""
    assert list(state_in(vars(importlib.import_module(module)), module)) == []


@pytest.mark.parametrize("path", sources_of("edge", "resolvers"), ids=str)
def test_no_function_of_edge_and_resolvers_binds_a_global_name(path: Path) -> None:
    assert [node for node in ast.walk(_parsed(path)) if isinstance(node, ast.Global)] == []


def test_no_variable_of_a_context_is_made() -> None:
    """What a callee needs is an argument, or lies in the context that it is given. Logs have structlog's own."""
    made = [path for path in sources_of(*FLOORS) if "ContextVar" in _names(path)]
    assert made == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIST", []),
        ("NESTED", ([],)),
        ("MAPPING", types.MappingProxyType({"a": {}})),
        ("OBJECT", importlib.import_module("edge.websocket").AnonymousSocketCounter()),
        ("Kept", type("Kept", (), {"__module__": "here", "all": {}})),
    ],
)
def test_state_is_found(name: str, value: object) -> None:
    assert list(state_in({name: value}, "here")) != []


def test_a_context_for_somebody_else_is_the_same_in_all_but_who_asks() -> None:
    found: dict[str, Any] = {one.name: object() for one in fields(Context)}
    assert Context(**found).acting_as(no_caller) == Context(**{**found, "authenticate": no_caller})


def test_a_request_keeps_all_of_the_world_but_what_it_brings() -> None:
    found: dict[str, Any] = {one.name: object() for one in fields(Context)}
    state = SimpleNamespace(context=Context(**found))
    scope = {"app": SimpleNamespace(state=state), "client": ("192.0.2.1", 1), "request_id": "mine", ASIDE: nullcontext}
    brought = {
        "authenticate": no_caller,
        "address": "192.0.2.1",
        "request_id": "mine",
        "api": "rest",
        "aside": nullcontext,
    }
    assert context_of(scope, "rest", no_caller) == Context(**{**found, **brought})


# ---------------------------------------------------------------------------------------------------------- paths

PATHS_OF_EDGE = {"admission.py": {"/health/", "/metrics"}, "same_origin.py": {"/health/"}, "metrics.py": {"/dev/shm"}}
"""What is asked about the server itself, and a folder."""


@pytest.mark.parametrize("path", sources_of("edge"), ids=lambda path: path.name)
def test_edge_names_no_path_of_an_api(path: Path) -> None:
    constants = [node.value for node in ast.walk(_parsed(path)) if isinstance(node, ast.Constant)]
    named = {value for value in constants if isinstance(value, str) and value.startswith("/")}
    assert named == PATHS_OF_EDGE.get(path.name, set())
    assert not named or "Knows no path" not in (ast.get_docstring(_parsed(path)) or "")


# ------------------------------------------------------------------------------------------------------- commands


@pytest.mark.parametrize("path", sources_of("cli"), ids=lambda path: path.name)
def test_commands_open_no_transaction_and_read_by_no_statement(path: Path) -> None:
    assert _names(path) & {"read", "write", "find", "listen", "Session", "Transaction"} == set()


@pytest.mark.parametrize("module", modules_of(cli))
def test_commands_take_from_tables_only_types(module: str) -> None:
    """Statements are functions, and what is prepared of them: `models.user` and `models.token` hold both."""
    tree = _parsed(Path(str(importlib.import_module(module).__file__)))
    for imported in (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)):
        if imported.module in ("models", "models.user", "models.token", "models.stored"):
            found = [getattr(importlib.import_module(imported.module), alias.name) for alias in imported.names]
            assert all(isinstance(each, type) for each in found), ast.unparse(imported)


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _names(path: Path) -> set[str]:
    tree = ast.walk(_parsed(path))
    return {str(getattr(node, kind)) for node in tree for kind in ("attr", "id", "name") if hasattr(node, kind)}


# -------------------------------------------------------------------------------------------------------- contracts


def kept(allowed: Iterable[str], *imports: tuple[str, str]) -> bool:
    graph = ImportGraph()
    for importer, imported in imports:
        graph.add_import(importer=importer, imported=imported)
    session = {"root_packages": ["mail", "models"]}
    contract = OnlyImports("mail", session, {"source_modules": ["mail.reading"], "allowed_modules": [*allowed]})
    return contract.check(graph, verbose=False).kept


def test_a_list_of_imports_refuses_every_other_and_what_is_on_it_for_nothing() -> None:
    assert kept([])
    assert kept([], ("mail.reading.parse", "mail.reading.html"), ("mail.reading.parse", "email"))
    assert kept([], ("mail.readings", "models.errors"))
    assert not kept([], ("mail.reading", "models.errors"))
    assert not kept([], ("mail.reading.parse", "mail.imap"))
    assert kept(["models.errors"], ("mail.reading.parse", "models.errors"))
    assert not kept(["models.errors"], ("mail.reading.parse", "models.errors"), ("mail.reading", "models.config"))
    assert not kept(["models.errors", "models.config"], ("mail.reading.parse", "models.errors"))
