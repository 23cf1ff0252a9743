"""A contract of import-linter that lists what some modules may import, instead of everything that they must not."""

from collections.abc import Iterable, Iterator
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class OnlyImports(Contract):
    """`source_modules` import only themselves and the `allowed_modules` of this project.

    A name means the module and its submodules. A missing source imports nothing. An allowed module that none of the
    sources imports breaks the contract too, so that the list stays minimal.
    """

    type_name = "only"

    source_modules: Any = fields.ListField(subfield=fields.StringField())
    allowed_modules: Any = fields.ListField(subfield=fields.StringField(), required=False, default=[])

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        sources, allowed = self.source_modules, self.allowed_modules
        found = [pair for pair in _imports(graph, sources) if self._is_ours(pair[1]) and not _is_in(pair[1], sources)]
        refused = [f"{importer} imports {imported}" for importer, imported in found if not _is_in(imported, allowed)]
        unused = [f"nothing imports {name}" for name in allowed if not any(_is_in(one, [name]) for _, one in found)]
        return ContractCheck(kept=not refused + unused, metadata={"wrong": [*refused, *unused]})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["wrong"]:
            output.print_error(f"- {line}", bold=False)

    def _is_ours(self, module: str) -> bool:
        return _is_in(module, self.session_options["root_packages"])


def _imports(graph: ImportGraph, sources: Iterable[str]) -> Iterator[tuple[str, str]]:
    for importer in sorted(module for module in graph.modules if _is_in(module, sources)):
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            yield importer, imported


def _is_in(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
