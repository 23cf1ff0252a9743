"""The tests, by noun; most go through HTTP, and each case of the API over GraphQL and REST."""
