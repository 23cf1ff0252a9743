"""The accounts at the real servers of the tests, and mail addresses with special behaviour."""

DOMAIN = "inbox.test"
USER = f"support@{DOMAIN}"
PASSWORD = "correct horse battery"
FOLDERLESS = f"folderless@{DOMAIN}"
"""An account without INBOX."""
ODD = f"odd@{DOMAIN}"
ODD_PASSWORD = 'pä"ss\\wörd {3}%s Ω密'
"""Not ASCII, and hard to quote."""
PASSWORDS = {USER: PASSWORD, FOLDERLESS: PASSWORD, ODD: ODD_PASSWORD}

ALIAS = f"grüße@{DOMAIN}"
"""An address that USER may also send from."""
UNKNOWN = f"unknown@{DOMAIN}"
"""A recipient that does not exist."""
LATER = f"later@{DOMAIN}"
"""A recipient that is refused temporarily."""
