"""Files that are named on the command line. Knows no command."""

from pathlib import Path


def absolute(named: Path | list[Path] | None) -> Path | list[Path] | None:
    """What is named, from the working folder on: the settings may be of another folder."""
    if isinstance(named, Path):
        return named.absolute()
    return [path.absolute() for path in named] if named else named
