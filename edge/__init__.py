"""The HTTP layer that both APIs share: request ids, credentials, bodies, JSON responses, health checks."""
