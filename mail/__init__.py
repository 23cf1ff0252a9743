"""SMTP, IMAP and what leads to them: names, addresses, TLS, tokens. Knows no database, no GraphQL and no resolver."""
