"""The tests, by noun. Most use HTTP, and each case of the API runs over GraphQL and REST."""
