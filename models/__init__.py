"""What the product knows: tables, inputs, statements, errors, encryption, database."""
