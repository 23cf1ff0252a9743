"""Speed, side by side with peers and beside floors. `make bench` runs it; README.md says how to read what it prints."""
