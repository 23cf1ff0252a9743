"""GraphQL over HTTP, WebSocket and server-sent events: requests in, answers out. Knows no noun."""
