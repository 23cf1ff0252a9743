"""Administration from the shell: each command calls a resolver and prints its result. Reads no environment."""
