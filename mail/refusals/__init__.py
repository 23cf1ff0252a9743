"""Interprets the refusals of mail servers, of token endpoints and of the host policy. Opens no connection."""
