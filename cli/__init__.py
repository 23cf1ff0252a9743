"""Administration from the shell: each command calls a resolver and prints what it gives. Reads no environment."""
