"""Postfix on free ports of loopback, without the machine's own configuration.

`addresses.At` describes its behaviour at each address. By default it checks the sender only at RCPT
(smtpd_delay_reject). Dovecot verifies the passwords. It needs root, because its master changes to the users of its
package.
"""

import email.policy
import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from tests.mail.accounts import ALIAS, DOMAIN, LATER, PASSWORDS, USER
from tests.mail.addresses import WITH_TLS, At
from tests.mail.certificates import Certificates
from tests.mail.daemon import LOG, folder_for, started
from tests.mail.dovecot import Dovecot
from tests.process import free_port, until

DAEMONS = Path("/usr/lib/postfix/sbin")
PUBLIC = ("public", "maildrop")
PRIVATE = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace")

MAIN = """
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
daemon_directory = {daemons}
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.{domain}
mydestination =
mynetworks =
inet_interfaces = all
inet_protocols = ipv4
maillog_file = {log}
maillog_file_prefixes = {folder}
import_environment = MAIL_CONFIG={folder}
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {mail}
virtual_mailbox_maps = texthash:{mailboxes}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtputf8_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {sasl}
smtpd_sasl_security_options = noanonymous
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {certificate}
smtpd_tls_security_level = may
smtpd_sender_login_maps = texthash:{logins}
smtpd_sender_restrictions = reject_sender_login_mismatch
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access texthash:{recipients}
"""
SERVICES = """
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 discard
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - discard
relay unix - - n - - discard
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class Postfix:
    """A running server, with the passwords of `accounts`. Each user may send only as itself."""

    folder: Path
    submission: int
    """STARTTLS; whether passwords are accepted in clear depends on the address."""
    submissions: int
    """TLS from the first byte."""
    open: int
    """Without AUTH; any client may send to the accounts."""

    @property
    def log(self) -> str:
        return (self.folder / LOG).read_text("utf-8")

    def files(self) -> list[Path]:
        return list((self.folder / "mail").glob("*/new/*"))

    def received(self) -> list[EmailMessage]:
        """Waits for a message and returns all that have arrived."""
        policy = email.policy.SMTP
        return [email.message_from_bytes(file.read_bytes(), policy=policy) for file in until(self.files)]

    def forget(self) -> None:
        """Deletes the messages, for the next test."""
        for file in self.files():
            file.unlink()


def missing() -> str | None:
    """Returns the reason why Postfix can't run here, if any."""
    if not (DAEMONS / "master").exists():
        return "Postfix is not installed"
    return None if os.geteuid() == 0 else "Postfix needs root"


@contextmanager
def postfix(certificates: Certificates, dovecot: Dovecot) -> Iterator[Postfix]:
    """Starts Postfix, and removes it afterwards."""
    with folder_for("postfix") as folder:
        made = Postfix(folder, free_port(), free_port(), free_port())
        configure(made, certificates, dovecot)
        with started([str(DAEMONS / "master"), "-c", str(folder), "-d"], folder, At.GOOD, made.open):
            yield made


def configure(made: Postfix, certificates: Certificates, dovecot: Dovecot) -> None:
    """Writes the configuration, and makes the folders that its package's scripts would make."""
    folder = made.folder
    make_folders(folder)
    mailboxes, logins, recipients = folder / "mailboxes", folder / "logins", folder / "recipients"
    users = [*PASSWORDS, LATER]
    mailboxes.write_text("".join(f"{user} {user}/\n" for user in users), "utf-8")
    logins.write_text("".join(f"{user} {user}\n" for user in users) + f"{ALIAS} {USER}\n", "utf-8")
    recipients.write_text(f"{LATER} 450 4.2.0 come back\n")
    owner = pwd.getpwnam("nobody")
    main = MAIN.format(
        **{name: folder / name for name in ("queue", "data", "mail", LOG)},
        mailboxes=mailboxes,
        logins=logins,
        recipients=recipients,
        sasl=dovecot.sasl,
        uid=owner.pw_uid,
        gid=owner.pw_gid,
        domain=DOMAIN,
        folder=folder,
        daemons=DAEMONS,
        certificate=certificates.file(At.GOOD),
    )
    (folder / "main.cf").write_text(main)
    (folder / "master.cf").write_text(services(made, certificates) + SERVICES)
    for file in folder.iterdir():
        os.utime(file, (0, 0))  # Postfix waits two seconds for a recently changed file


def make_folders(folder: Path) -> None:
    owner, droppers, nobody = pwd.getpwnam("postfix"), grp.getgrnam("postdrop"), pwd.getpwnam("nobody")
    for name in ("queue", "queue/pid"):
        (folder / name).mkdir(mode=0o755)
    for name in (*PUBLIC, *PRIVATE):
        path = folder / "queue" / name
        path.mkdir(mode=0o710 if name == "public" else 0o700)
        os.chown(path, owner.pw_uid, droppers.gr_gid if name in PUBLIC else 0)
    for name, user in (("data", owner), ("mail", nobody)):
        (folder / name).mkdir(mode=0o700)
        os.chown(folder / name, user.pw_uid, user.pw_gid)


def services(made: Postfix, certificates: Certificates) -> str:
    """Returns the listeners of `master.cf`."""
    lines = [f"{At.GOOD}:{made.open} inet n - n - - smtpd"]
    for at in At:
        options = {
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_tls_security_level": "may" if at in WITH_TLS else "none",
            "smtpd_tls_auth_only": "yes" if at is At.STRICT else "no",
            "smtpd_tls_cert_file": str(certificates.file(at)),
            "smtpd_tls_key_file": str(certificates.file(at)),
            "smtpd_sasl_mechanism_filter": "!xoauth2,static:all" if at is At.STRICT else "static:all",
        }
        lines.append(listener(at, made.submission, options))
        if at in WITH_TLS:
            lines.append(listener(at, made.submissions, {**options, "smtpd_tls_wrappermode": "yes"}))
    return "\n".join(lines)


def listener(at: At, port: int, options: dict[str, str]) -> str:
    return f"{at}:{port} inet n - n - - smtpd\n" + "\n".join(f"  -o {name}={value}" for name, value in options.items())
