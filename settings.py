"""The operator's settings: reads and validates them from the environment and `.env`."""

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
"""The variable that makes prometheus_client share metrics between processes. It reads it on import."""
MIN_ADMIN_TOKEN = 20
_HOST = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_PORTS = re.compile("([0-9]{1,5})(?:-([0-9]{1,5}))?")


def _check_token(value: SecretStr) -> SecretStr:
    """Checks that a token fits in a header field."""
    if not re.fullmatch("[!-~]+", value.get_secret_value()):
        raise invalid("must be visible ASCII characters without blanks")
    return value


def _check_admin_token(value: SecretStr) -> SecretStr:
    """Checks the length: short tokens can be guessed, and the server does not look up very long ones."""
    if not MIN_ADMIN_TOKEN <= len(_check_token(value).get_secret_value()) <= MAX_TOKEN_LENGTH:
        raise invalid(
            f"must have {MIN_ADMIN_TOKEN} to {MAX_TOKEN_LENGTH} characters: `openssl rand -hex 32` makes a good one"
        )
    return value


def _check_password(value: SecretStr) -> SecretStr:
    if validated_value(UserConfig, "password", value.get_secret_value()) is None:
        raise invalid("must be 1 to 1,000 characters, none of them a control character")
    return value


def _parse_rate(value: object) -> object:
    """Parses a rate such as 600/minute."""
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except ValueError:
        raise invalid("must be a number and a time, such as 600/minute") from None


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _parse_ports(value: object) -> object:
    """Parses ports and ranges, such as 25,587,2525-2530. A plus before the first adds them to the default ones.

    A plus before a later one has no effect.
    """
    if not isinstance(value, str):
        return value
    parts = list(filter(None, map(str.strip, value.split(","))))
    ports = set().union(*(_parse_range(part.removeprefix("+")) for part in parts))
    if not ports or 0 in ports:
        raise invalid(
            "must be ports from 1 to 65535 and ranges of them, such as 25,587,2525-2530; a plus before the first adds "
            "them to the default ones: +2526"
        )
    return frozenset(ports | MAIL_PORTS if parts[0].startswith("+") else ports)


def _parse_range(part: str) -> set[int]:
    """The ports of a range or of a single port; 0 if they are invalid."""
    match = _PORTS.fullmatch(part.strip())
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    return set(range(first, last + 1)) if 1 <= first <= last <= 65_535 else {0}


def _parse_origin(value: object) -> object:
    """Parses an origin such as https://app.example.org."""
    try:
        return Origin.parse(value) if isinstance(value, str) else value
    except ValueError as error:
        raise invalid(str(error)) from None


def _parse_public_url(value: object) -> object:
    """Parses an origin, with or without a trailing slash."""
    return _parse_origin(value.removesuffix("/") if isinstance(value, str) else value)


def _check_host(value: object) -> object:
    """Checks a host name or address of the server, without scheme and port; `*` stands for every Host."""
    if isinstance(value, str) and value != "*" and not _HOST.fullmatch(value) and not is_address(value):
        raise invalid("must be host names without scheme and port, such as inbox.internal, or * for every Host")
    return value


def _parse_network(value: object) -> object:
    """Parses an address or a network, such as 10.0.0.0/8."""
    try:
        return ip_network(value) if isinstance(value, str) else value
    except ValueError:
        raise invalid("must be IP addresses and networks, such as 127.0.0.1,10.0.0.0/8") from None


Origins = Annotated[list[Annotated[Origin, BeforeValidator(_parse_origin)]], NoDecode, BeforeValidator(_split)]
Networks = Annotated[
    list[Annotated[IPv4Network | IPv6Network, BeforeValidator(_parse_network)]], NoDecode, BeforeValidator(_split)
]
HostNames = Annotated[list[Annotated[str, BeforeValidator(_check_host)]], NoDecode, BeforeValidator(_split)]
Strings = Annotated[list[str], NoDecode, BeforeValidator(_split)]
Ports = Annotated[frozenset[int] | None, NoDecode, BeforeValidator(_parse_ports)]
Token = Annotated[SecretStr, AfterValidator(_check_token)]


class Settings(BaseSettings):
    """The settings, as `docs/configuration.md` explains them. Every default works without an external service."""

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
    admin_token: Annotated[SecretStr, AfterValidator(_check_admin_token)] | None = None
    admin_email: EmailAddress | None = None
    admin_password: Annotated[SecretStr, AfterValidator(_check_password)] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] | None = None
    mail_hosts_allow: Strings = []
    mail_ports: Ports = None
    ca_file: Path | None = None
    graphiql: bool = True
    introspection: bool = True
    rate_limit: Annotated[RateLimitItem | None, BeforeValidator(_parse_rate)] = None
    trusted_documents: Path | None = None
    cors_origins: Origins = []
    public_url: Annotated[Origin | None, BeforeValidator(_parse_public_url)] = None
    hosts: HostNames = []
    proxies: Networks = []
    metrics_token: Token | None = None

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @property
    def url(self) -> str:
        """The URL of the database. Default: SQLite in the data folder."""
        if self.database_url is None:
            return f"sqlite:///{self.data_dir / 'email-inbox.sqlite3'}"
        return self.database_url.get_secret_value()

    @property
    def own_hosts(self) -> list[str] | None:
        """The host names of this server; None to accept every Host."""
        return own_hosts(self.host, self.public_url.host if self.public_url else None, self.hosts)

    @property
    def key_file(self) -> KeyFile | None:
        """The file of the secret keys; None if the keys are set in the environment."""
        return None if self.secret_keys else KeyFile(self.data_dir / "secret.key")

    @property
    def own_folder(self) -> Path | None:
        """The data folder; None if the server stores nothing in it."""
        return self.data_dir if self.key_file or self.database_url is None else None

    @property
    def keys(self) -> list[Key]:
        """The secret keys from the environment. Raises StartError if one is invalid, or if the variable holds none."""
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
    """Applies the options of the command line to the environment, which every process of the server inherits.

    Variables already set override the files, a later file overrides an earlier one, and `given` overrides all.
    Changes to the folder, where `.env` and relative paths in settings are looked up. Raises StartError.
    """
    values = {name: value for file in files for name, value in _read_file(file).items()}
    known = {name.upper() for name, value in os.environ.items() if value}
    os.environ.update({name: value for name, value in values.items() if name.upper() not in known})
    os.environ.update(given or {})
    if folder:
        os.chdir(folder)


def _read_file(file: Path) -> dict[str, str]:
    try:
        if file.is_dir() or not file.exists():  # pydantic-settings would treat it as empty
            raise StartError(f"--env-file: there is no file {file}.")
        variables = DotEnvSettingsSource(Settings, env_file=file, case_sensitive=True).env_vars
    except OSError as error:
        raise StartError(f"--env-file: {file} can't be read: {error.strerror}.") from None
    except UnicodeError:
        raise StartError(f"--env-file: {file} is not text in UTF-8.") from None
    return {
        (name.upper() if name.upper().startswith(ENV_PREFIX) else name): value
        for name, value in variables.items()
        if value is not None
    }


def read_settings() -> Settings:
    """Reads the settings. Raises StartError, which names every invalid setting but quotes no value."""
    try:
        settings = Settings()
    except ValidationError as error:
        wrong = [f"{ENV_PREFIX}{str(problem['loc'][0]).upper()}: {problem['msg']}" for problem in error.errors()]
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
    """Whether the path is a folder. True if it can't be checked: the database then reports the error."""
    try:
        return path.is_dir()
    except OSError:
        return True


def metrics_folder() -> Path | None:
    """The folder in which processes share metrics, if set. Raises StartError if it does not exist."""
    folder = Path(shared) if (shared := os.environ.get(SHARED_METRICS)) else None
    if folder and not folder.is_dir():
        raise StartError(f"{SHARED_METRICS}: there is no folder {folder}.")
    return folder


def traces_wanted() -> bool:
    """Whether OpenTelemetry's own variables enable traces."""
    endpoints = [os.environ.get(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("TRACES_", "")]
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return any(endpoints) and not is_disabled and os.environ.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp"


def unknown_settings() -> list[str]:
    """Variables with the settings' prefix that are no settings: mostly misspelt ones."""
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name.upper() not in known)


def secret(value: SecretStr | None) -> Secret | None:
    return Secret(value.get_secret_value()) if value else None
