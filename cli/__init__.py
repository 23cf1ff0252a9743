"""Administration from the shell: each command calls a resolver and prints what it gives. Reads no environment."""

from cli.program import NAME, Options, Server, in_front, program

__all__ = ["NAME", "Options", "Server", "in_front", "program"]
