"""Examples of clients, each with a library of its own. Know nothing of the code of the server."""
