"""What is plain: an operation that can be planned, and values that are just what their types say. Knows no field."""


class NotPlain(Exception):
    """graphql-core must see to it."""
