"""Paths on the command line."""

from pathlib import Path


def absolute(named: Path | list[Path] | None) -> Path | list[Path] | None:
    """Resolves paths against the working directory, before `--folder` changes it."""
    if isinstance(named, Path):
        return named.absolute()
    return [path.absolute() for path in named] if named else named
