"""Mail servers for the tests: real ones, scripted ones, and certificates of every kind."""
