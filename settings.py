"""What an operator may set, read from the environment and `.env`. Knows what a value may be, and not what for."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from limits import RateLimitItem, parse
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models.config import MAIL_PORTS
from models.database import sqlite_path
from models.errors import StartError
from models.fields import Address, Identifier, invalid
from models.keyfile import KeyFile
from models.secrets import Secret
from models.user import UserConfig
from models.validation import accepted
from resolvers.setup import FirstAdministrator

PREFIX = "EMAIL_INBOX_"
_PORTS = re.compile("([0-9]{1,5})(?:-([0-9]{1,5}))?")


def _token(value: SecretStr) -> SecretStr:
    """A token travels in a header."""
    if not re.fullmatch("[!-~]+", value.get_secret_value()):
        raise invalid("must be visible ASCII characters without blanks")
    return value


def _password(value: SecretStr) -> SecretStr:
    if accepted(UserConfig, "password", value.get_secret_value()) is None:
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
    """Ports and ranges of them, such as 25,587,2525-2530; with a plus before them, in addition to the default ones."""
    if not isinstance(value, str):
        return value
    parts = list(filter(None, map(str.strip, value.split(","))))
    adds = bool(parts) and parts[0].startswith("+")
    found = set().union(*(_range(part.removeprefix("+") if adds else part) for part in parts))
    if not found or 0 in found:
        raise invalid(
            "must be ports from 1 to 65535 and ranges of them, such as 25,587,2525-2530; a plus before the first adds "
            "them to the default ones: +2526"
        )
    return frozenset(found | MAIL_PORTS) if adds else frozenset(found)


def _range(part: str) -> set[int]:
    """The ports from the first to the last; 0 where they are none."""
    found = _PORTS.fullmatch(part.strip())
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    return set(range(first, last + 1)) if 1 <= first <= last <= 65_535 else {0}


List = Annotated[list[str], NoDecode, BeforeValidator(_parts)]
Ports = Annotated[frozenset[int] | None, NoDecode, BeforeValidator(_ports)]
Token = Annotated[SecretStr, AfterValidator(_token)]


class Settings(BaseSettings):
    """`docs/configuration.md` explains it. Everything has a default that needs no service."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
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
    admin_token: Token | None = None
    admin_email: Address | None = None
    admin_password: Annotated[SecretStr, AfterValidator(_password)] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] | None = None
    mail_hosts_allow: List = []
    mail_ports: Ports = None
    ca_file: Path | None = None
    graphiql: bool = True
    introspection: bool = True
    rate_limit: Annotated[RateLimitItem | None, BeforeValidator(_rate)] = None
    trusted_documents: Path | None = None
    cors_origins: List = []
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
    def key_file(self) -> KeyFile | None:
        """The file of the secret keys; None where they are set instead."""
        return None if self.secret_keys else KeyFile(self.data_dir / "secret.key")

    @property
    def administrator(self) -> FirstAdministrator:
        return FirstAdministrator(
            self.admin_user_id, secret(self.admin_token), self.admin_email, secret(self.admin_password)
        )


def read_settings() -> Settings:
    """The settings of the environment and `.env`. Raises StartError that names every wrong one, and no value."""
    try:
        settings = Settings()
    except ValidationError as error:
        wrong = [f"{PREFIX}{str(found['loc'][0]).upper()}: {found['msg']}" for found in error.errors()]
        raise StartError("; ".join(wrong) + ".") from None
    except (OSError, UnicodeError) as error:
        raise StartError(f"The settings file .env can't be read: {error}.") from None
    path = sqlite_path(settings.url)
    if settings.workers > 1 and path:
        raise StartError("EMAIL_INBOX_WORKERS above 1 needs PostgreSQL: set EMAIL_INBOX_DATABASE_URL.")
    if settings.database_url and path and not path.parent.is_dir():
        raise StartError(f"EMAIL_INBOX_DATABASE_URL: {path} can't be made, because its folder does not exist.")
    return settings


def unknown_settings() -> list[str]:
    """Variables that look like settings but are none: misspelt ones, mostly."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name.upper() not in known)


def secret(value: SecretStr | None) -> Secret | None:
    return Secret(value.get_secret_value()) if value else None
