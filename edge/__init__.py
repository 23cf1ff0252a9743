"""HTTP as both APIs share it: request ids, credentials, bodies, JSON answers, health. Knows no noun."""
