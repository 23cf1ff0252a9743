"""What an operator may set, read from the environment and `.env`. Knows what a value may be, and not what for."""

import os
import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

from limits import RateLimitItem, parse
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, NoDecode, SettingsConfigDict

from edge.origins import Origin
from edge.same_origin import is_address, own_hosts
from models.config import MAIL_PORTS
from models.database import sqlite_path
from models.errors import StartError
from models.fields import EmailAddress, Identifier, invalid
from models.keyfile import KeyFile
from models.secrets import Key, Secret
from models.token import MAX_TOKEN_LENGTH
from models.user import UserConfig
from models.validation import validated_value
from resolvers.setup import FirstAdministrator

ENV_PREFIX = "EMAIL_INBOX_"
SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client is told, when it is imported, that several processes count together."""
MIN_ADMIN_TOKEN = 20
_HOST = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_PORTS = re.compile("([0-9]{1,5})(?:-([0-9]{1,5}))?")


def _token(value: SecretStr) -> SecretStr:
    """A token travels in a header."""
    if not re.fullmatch("[!-~]+", value.get_secret_value()):
        raise invalid("must be visible ASCII characters without blanks")
    return value


def _admin_token(value: SecretStr) -> SecretStr:
    """Short ones are guessed, and very long ones are not looked at."""
    if not MIN_ADMIN_TOKEN <= len(_token(value).get_secret_value()) <= MAX_TOKEN_LENGTH:
        raise invalid(
            f"must have {MIN_ADMIN_TOKEN} to {MAX_TOKEN_LENGTH} characters: `openssl rand -hex 32` makes a good one"
        )
    return value


def _password(value: SecretStr) -> SecretStr:
    if validated_value(UserConfig, "password", value.get_secret_value()) is None:
        raise invalid("must be 1 to 1,000 characters, none of them a control character")
    return value


def _rate(value: object) -> object:
    """A rate such as 600/minute."""
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except ValueError:
        raise invalid("must be a number and a time, such as 600/minute") from None


def _parts(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _ports(value: object) -> object:
    """Ports and ranges of them, such as 25,587,2525-2530; with a plus before the first, beside the default ones.

    A plus before another one says nothing more: it was added to a list.
    """
    if not isinstance(value, str):
        return value
    parts = list(filter(None, map(str.strip, value.split(","))))
    found = set().union(*(_range(part.removeprefix("+")) for part in parts))
    if not found or 0 in found:
        raise invalid(
            "must be ports from 1 to 65535 and ranges of them, such as 25,587,2525-2530; a plus before the first adds "
            "them to the default ones: +2526"
        )
    return frozenset(found | MAIL_PORTS if parts[0].startswith("+") else found)


def _range(part: str) -> set[int]:
    """The ports from the first to the last; 0 where they are none."""
    found = _PORTS.fullmatch(part.strip())
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    return set(range(first, last + 1)) if 1 <= first <= last <= 65_535 else {0}


def _origin(value: object) -> object:
    """An origin such as https://app.example.org."""
    try:
        return Origin.parse(value) if isinstance(value, str) else value
    except ValueError as error:
        raise invalid(str(error)) from None


def _public_url(value: object) -> object:
    """The same, with the slash that people write at its end."""
    return _origin(value.removesuffix("/") if isinstance(value, str) else value)


def _host(value: object) -> object:
    """A name that the server goes by, without scheme and port; `*`: every one."""
    if isinstance(value, str) and value != "*" and not _HOST.fullmatch(value) and not is_address(value):
        raise invalid("must be host names without scheme and port, such as inbox.internal, or * for every Host")
    return value


def _network(value: object) -> object:
    """An address or a network, such as 10.0.0.0/8."""
    try:
        return ip_network(value) if isinstance(value, str) else value
    except ValueError:
        raise invalid("must be IP addresses and networks, such as 127.0.0.1,10.0.0.0/8") from None


Origins = Annotated[list[Annotated[Origin, BeforeValidator(_origin)]], NoDecode, BeforeValidator(_parts)]
Networks = Annotated[
    list[Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]], NoDecode, BeforeValidator(_parts)
]
HostNames = Annotated[list[Annotated[str, BeforeValidator(_host)]], NoDecode, BeforeValidator(_parts)]
Strings = Annotated[list[str], NoDecode, BeforeValidator(_parts)]
Ports = Annotated[frozenset[int] | None, NoDecode, BeforeValidator(_ports)]
Token = Annotated[SecretStr, AfterValidator(_token)]


class Settings(BaseSettings):
    """`docs/configuration.md` explains it. Everything has a default that needs no service."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
    )

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)] = 3000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    data_dir: Path = Path("data")
    database_url: SecretStr | None = None
    secret_keys: SecretStr | None = None
    admin_user_id: Identifier | None = None
    admin_token: Annotated[SecretStr, AfterValidator(_admin_token)] | None = None
    admin_email: EmailAddress | None = None
    admin_password: Annotated[SecretStr, AfterValidator(_password)] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] | None = None
    mail_hosts_allow: Strings = []
    mail_ports: Ports = None
    ca_file: Path | None = None
    graphiql: bool = True
    introspection: bool = True
    rate_limit: Annotated[RateLimitItem | None, BeforeValidator(_rate)] = None
    trusted_documents: Path | None = None
    cors_origins: Origins = []
    public_url: Annotated[Origin | None, BeforeValidator(_public_url)] = None
    hosts: HostNames = []
    proxies: Networks = []
    metrics_token: Token | None = None

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @property
    def url(self) -> str:
        """The URL of the database; SQLite in the data folder where none is set."""
        if self.database_url is None:
            return f"sqlite:///{self.data_dir / 'email-inbox.sqlite3'}"
        return self.database_url.get_secret_value()

    @property
    def own_hosts(self) -> list[str] | None:
        """The names that this server goes by; None where every Host is taken."""
        return own_hosts(self.host, self.public_url.host if self.public_url else None, self.hosts)

    @property
    def key_file(self) -> KeyFile | None:
        """The file of the secret keys; None where they are set instead."""
        return None if self.secret_keys else KeyFile(self.data_dir / "secret.key")

    @property
    def own_folder(self) -> Path | None:
        """The data folder, where anything of this server is kept in it."""
        return self.data_dir if self.key_file or self.database_url is None else None

    @property
    def keys(self) -> list[Key]:
        """The secret keys that are set. Raises StartError where one is wrong, or where there is none."""
        if self.secret_keys is None:
            return []
        parts = self.secret_keys.get_secret_value().split(",")
        try:
            keys = [Key.parse(part) for part in parts if part.strip()]
        except ValueError as error:
            raise StartError(f"EMAIL_INBOX_SECRET_KEYS: {error}.") from None
        if not keys:
            raise StartError("EMAIL_INBOX_SECRET_KEYS holds no key: set one, or leave the variable out.")
        return keys

    @property
    def administrator(self) -> FirstAdministrator:
        return FirstAdministrator(
            self.admin_user_id, secret(self.admin_token), self.admin_email, secret(self.admin_password)
        )


def set_environment(
    folder: Path | None = None, files: Sequence[Path] = (), given: Mapping[str, str] | None = None
) -> None:
    """Makes the environment, which every process of the server inherits, what the command line asks for.

    What is set there already wins over the files, a later file over an earlier one, and what is `given` over all.
    `.env` and relative paths in settings are looked for in the folder. Raises StartError.
    """
    values = {name: value for file in files for name, value in _read_file(file).items()}
    known = {name.upper() for name, value in os.environ.items() if value}
    os.environ.update({name: value for name, value in values.items() if name.upper() not in known})
    os.environ.update(given or {})
    if folder:
        os.chdir(folder)


def _read_file(file: Path) -> dict[str, str]:
    try:
        if file.is_dir() or not file.exists():  # such a file would count as empty
            raise StartError(f"--env-file: there is no file {file}.")
        found = DotEnvSettingsSource(Settings, env_file=file, case_sensitive=True).env_vars
    except OSError as error:
        raise StartError(f"--env-file: {file} can't be read: {error.strerror}.") from None
    except UnicodeError:
        raise StartError(f"--env-file: {file} is not text in UTF-8.") from None
    return {
        (name.upper() if name.upper().startswith(ENV_PREFIX) else name): value
        for name, value in found.items()
        if value is not None
    }


def read_settings() -> Settings:
    """The settings of the environment and `.env`. Raises StartError that names every wrong one, and no value."""
    try:
        settings = Settings()
    except ValidationError as error:
        wrong = [f"{ENV_PREFIX}{str(found['loc'][0]).upper()}: {found['msg']}" for found in error.errors()]
        raise StartError("; ".join(wrong) + ".") from None
    except (OSError, UnicodeError) as error:
        raise StartError(f"The settings file .env can't be read: {error}.") from None
    path = sqlite_path(settings.url)
    if settings.workers > 1 and path:
        raise StartError("EMAIL_INBOX_WORKERS above 1 needs PostgreSQL: set EMAIL_INBOX_DATABASE_URL.")
    if settings.database_url and path and not _is_folder(path.parent):
        raise StartError(f"EMAIL_INBOX_DATABASE_URL: {path} can't be made, because its folder does not exist.")
    return settings


def _is_folder(path: Path) -> bool:
    """Whether it is one. Where that can't be seen, the database will say what is in the way."""
    try:
        return path.is_dir()
    except OSError:
        return True


def metrics_folder() -> Path | None:
    """Where several processes count together, as prometheus_client is told. Raises StartError where it is missing."""
    folder = Path(shared) if (shared := os.environ.get(SHARED_METRICS)) else None
    if folder and not folder.is_dir():
        raise StartError(f"{SHARED_METRICS}: there is no folder {folder}.")
    return folder


def traces_wanted() -> bool:
    """Whether OpenTelemetry's own variables say where traces go."""
    endpoints = [os.environ.get(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("TRACES_", "")]
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return any(endpoints) and not is_disabled and os.environ.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp"


def unknown_settings() -> list[str]:
    """Variables that look like settings but are none: misspelt ones, mostly."""
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name.upper() not in known)


def secret(value: SecretStr | None) -> Secret | None:
    return Secret(value.get_secret_value()) if value else None
