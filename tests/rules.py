"""The rule of every operation, read from the resolvers."""

import importlib
import pkgutil

import resolvers


def rules() -> dict[str, str]:
    """Returns the rules by the name of the resolver."""
    modules = [importlib.import_module(found.name) for found in pkgutil.iter_modules(resolvers.__path__, "resolvers.")]
    return {name: found.rule for module in modules for name, found in vars(module).items() if _has_rule(found)}


def _has_rule(found: object) -> bool:
    return isinstance(getattr(found, "rule", None), str)
