"""Why a benchmark stops."""


class Failure(Exception):
    """Something went wrong that makes figures worthless: a server that does not start, or an answer that is wrong."""
