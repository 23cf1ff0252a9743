"""Who has an account at the real servers of the tests, and mail addresses with which something happens."""

DOMAIN = "inbox.test"
USER = f"support@{DOMAIN}"
PASSWORD = "correct horse battery"
FOLDERLESS = f"folderless@{DOMAIN}"
"""An account in which INBOX does not exist."""
ODD = f"odd@{DOMAIN}"
ODD_PASSWORD = 'pä"ss\\wörd {3}%s Ω密'
"""Neither ASCII nor easy to quote."""
PASSWORDS = {USER: PASSWORD, FOLDERLESS: PASSWORD, ODD: ODD_PASSWORD}

ALIAS = f"grüße@{DOMAIN}"
"""An address that USER may write as, too."""
UNKNOWN = f"unknown@{DOMAIN}"
"""There is no such recipient."""
LATER = f"later@{DOMAIN}"
"""A recipient who is to be tried again."""
