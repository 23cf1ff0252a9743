"""Background tasks beside the APIs, each with a start and an end. Knows no request."""
