"""Dovecot on free ports of loopback, without the machine's own configuration.

The delays after a wrong password are the defaults: the first failure is reported after 2 s, later ones take longer.

`addresses.At` describes its behaviour at each address. Without root it runs as the current user.
"""

import grp
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.mail.accounts import FOLDERLESS, PASSWORDS
from tests.mail.addresses import WITH_TLS, At
from tests.mail.certificates import Certificates
from tests.mail.daemon import LOG, folder_for, started
from tests.mail.token_endpoint import TokenEndpoint
from tests.process import free_port

PROGRAM = shutil.which("dovecot", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")

PENALTY = "PENALTY-INC\t127.0.0.1\t0\t{}\n"
"""The message of its login processes to `anvil`, which counts failures by address."""
VERSION = "2.3."
"""2.4 has another configuration syntax."""

BASE = """
base_dir = {run}
state_dir = {state}
log_path = {log}
instance_name = tests
protocols = imap
listen = 127.0.0.1
default_internal_user = {internal}
default_internal_group = {group}
default_login_user = {login}
first_valid_uid = 1
mail_location = maildir:{mail}/%u
mail_home = {mail}/%u
mail_max_userip_connections = 1000
mail_fsync = never
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{certificate}
disable_plaintext_auth = no
auth_mechanisms = plain login xoauth2 oauthbearer
auth_username_chars =
auth_verbose = yes
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {oauth2}
}}
passdb {{
  driver = passwd-file
  mechanisms = plain login
  args = scheme=PLAIN username_format=%u {users}
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {users}
}}
plugin {{
  acl = vfile:{acl}
}}
namespace inbox {{
  inbox = yes
}}
service imap-login {{
  chroot =
  service_count = 0
  inet_listener imap {{
    address = {addresses}
    port = {imap}
  }}
  inet_listener imaps {{
    address = {addresses}
    port = {imaps}
  }}
}}
service imap {{
  service_count = 100
  process_min_avail = 1
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service auth {{
  client_limit = 2000
  unix_listener {sasl} {{
    mode = 0666
  }}
}}
"""
OAUTH2 = """
introspection_mode = post
introspection_url = {url}
tls_ca_cert_file = {ca}
active_attribute = active
active_value = true
username_attribute = username
"""


@dataclass(frozen=True)
class Dovecot:
    """A running server, with the passwords of `accounts` and the tokens of its endpoint."""

    folder: Path
    imap: int
    imaps: int
    tokens: TokenEndpoint

    @property
    def sasl(self) -> Path:
        """The socket at which Postfix verifies passwords."""
        return self.folder / "sasl"

    @property
    def log(self) -> str:
        return (self.folder / LOG).read_text("utf-8")

    def forgive(self, failures: int = 0) -> None:
        """Sets the number of failed logins from here. Each delays the next response more, right or wrong."""
        with closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.connect(str(self.folder / "run" / "anvil-auth-penalty"))
            connection.sendall(b"VERSION\tanvil\t1\t1\n" + PENALTY.format(failures).encode())
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1024):
                pass


@cache
def missing() -> str | None:
    """Returns the reason why Dovecot can't run here, if any."""
    if PROGRAM is None:
        return "Dovecot is not installed"
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=False)
    if not said.stdout.startswith(VERSION):
        return f"Dovecot {VERSION}x is needed, here is {said.stdout.strip() or 'one that does not start'}"
    try:
        mail_owner(), identities()
    except KeyError as error:
        return f"Dovecot needs users and groups that have names: {error.args[0]}"
    return None


@contextmanager
def dovecot(certificates: Certificates) -> Iterator[Dovecot]:
    """Starts Dovecot, and removes it afterwards."""
    with folder_for("dovecot") as folder, TokenEndpoint(certificates.server_context()) as tokens:
        made = Dovecot(folder, free_port(), free_port(), tokens)
        command = [str(PROGRAM), "-F", "-c", str(configure(made, certificates))]
        with started(command, folder, At.GOOD, made.imap):
            yield made


def configure(made: Dovecot, certificates: Certificates) -> Path:
    """Writes the configuration. Returns the path of its main file."""
    folder = made.folder
    (folder / "mail").mkdir()
    users, acl, oauth2, ca_file = folder / "users", folder / "acl", folder / "oauth2.conf", folder / "ca.pem"
    owner = mail_owner()
    os.chown(folder / "mail", owner.pw_uid, owner.pw_gid)
    users.write_text("".join(user_line(name, owner) for name in PASSWORDS), "utf-8")
    acl.write_text("INBOX owner\n")
    shutil.copyfile(certificates.ca_file, ca_file)  # Dovecot reads it without root's rights
    oauth2.write_text(OAUTH2.format(url=made.tokens.introspection_url, ca=ca_file))
    text = BASE.format(
        **{name: folder / name for name in ("run", "state", LOG, "mail", "sasl")},
        **identities(),
        users=users,
        acl=acl,
        oauth2=oauth2,
        imap=made.imap,
        imaps=made.imaps,
        certificate=certificates.file(At.GOOD),
        addresses=" ".join(At),
    )
    path = folder / "dovecot.conf"
    path.write_text(text + "".join(personality(at, certificates) for at in At))
    return path


def personality(at: At, certificates: Certificates) -> str:
    lines = ["ssl = no"]
    if at in WITH_TLS:
        lines = [f"ssl_cert = <{certificates.file(at)}", f"ssl_key = <{certificates.file(at)}"]
    if at is At.STRICT:
        lines += ["disable_plaintext_auth = yes"]
    return f"local {at} {{\n  " + "\n  ".join(lines) + "\n}\n"


def mail_owner() -> pwd.struct_passwd:
    """Returns the owner of the mail, because Dovecot reads none as root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def identities() -> dict[str, str]:
    if os.geteuid() == 0:
        return {"internal": "dovecot", "group": "dovecot", "login": "dovenull"}
    name = pwd.getpwuid(os.geteuid()).pw_name
    return {"internal": name, "login": name, "group": grp.getgrgid(os.getegid()).gr_name}


def user_line(name: str, owner: pwd.struct_passwd) -> str:
    extra = "userdb_mail_plugins=acl" if name == FOLDERLESS else ""
    return f"{name}:{PASSWORDS[name]}:{owner.pw_uid}:{owner.pw_gid}::::{extra}\n"
