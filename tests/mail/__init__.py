"""Mail servers for the tests: real ones, one that says what it is told, certificates of every kind. Knows no test."""
