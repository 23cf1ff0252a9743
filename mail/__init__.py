"""SMTP, IMAP and what they need: DNS, host policy, TLS, access tokens. Imports no database, GraphQL or resolver."""
