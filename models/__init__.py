"""Tables, inputs, statements, errors, encryption, database."""
