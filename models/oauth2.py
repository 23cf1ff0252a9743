"""The OAuth 2.0 consent that may replace a password: its input, and the presets of known providers.

Knows no stored inbox, and fetches nothing.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

import orjson
from pydantic import Field, ValidationInfo, field_validator, model_validator

from models.account import Grant
from models.errors import ErrorCode
from models.fields import HttpsUrl, LongLine, LongSecret, Password, Username, invalid
from models.secrets import Secret
from models.validation import Input, names_of, patch_of

CONSENT_ID = 32
"""The number of hexadecimal digits in a consent's id."""


class OAuth2Provider(StrEnum):
    """Who gives access tokens. Any other one is named by its `tokenUrl`."""

    GOOGLE = "GOOGLE"
    MICROSOFT = "MICROSOFT"


_PROVIDERS: Mapping[str, OAuth2Provider] = {provider.value: provider for provider in OAuth2Provider}


@dataclass(frozen=True, slots=True)
class Preset:
    """The token endpoint and the scope of a provider."""

    token_url: str
    scope: str


PRESETS: Mapping[OAuth2Provider, Preset] = {
    OAuth2Provider.GOOGLE: Preset("https://oauth2.googleapis.com/token", "https://mail.google.com/"),
    OAuth2Provider.MICROSOFT: Preset(
        "https://login.microsoftonline.com/common/oauth2/v2.0/token",
        "https://outlook.office.com/IMAP.AccessAsUser.All https://outlook.office.com/SMTP.Send offline_access",
    ),
}


class OAuth2Config(Input):
    """A consent of the mailbox's owner, which stands in for the password: OAuth 2.0."""

    provider: Annotated[
        OAuth2Provider | None, Field(description="Who gave the consent, where its tokenUrl and scope are known here.")
    ] = None
    token_url: Annotated[
        HttpsUrl | None,
        Field(
            description="Where access tokens are fetched: an https address. Required without a provider; left out with "
            "one: the provider's."
        ),
    ] = None
    client_id: Annotated[Username, Field(description="Client id of the application that the consent was given to.")]
    client_secret: Annotated[
        Password | None,
        Field(
            description="Secret of the application; it can never be read again. null: it has none. Left out later, "
            "the stored one is kept, as refreshToken is.",
            repr=False,
        ),
    ] = None
    refresh_token: Annotated[
        LongSecret | None,
        Field(
            description="The consent, at most 10,000 characters; it can never be read again. Required at first. Left "
            "out later, the stored one is kept, which is allowed only while server, port, username, secure, tokenUrl "
            "and clientId stay as they are and no other certificate is trusted.",
            repr=False,
        ),
    ] = None
    scope: Annotated[
        LongLine | None,
        Field(description="What access is asked for, parted by blanks. Left out: the provider's."),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _left_out_is_null(cls, values: Any) -> Any:
        """Sets the defaults here, because a validator of a default would name the field in Python's spelling."""
        return {"tokenUrl": None, "scope": None, **values} if isinstance(values, Mapping) else values

    @field_validator("token_url")
    @classmethod
    def _url_or_preset(cls, given: str | None, info: ValidationInfo) -> str | None:
        found = given or _preset(info.data.get("provider"), "token_url")
        if found is None and "provider" in info.data:
            raise invalid("is required where no provider is given", ErrorCode.REQUIRED)
        return found

    @field_validator("scope")
    @classmethod
    def _scope_or_preset(cls, given: str | None, info: ValidationInfo) -> str | None:
        return given or _preset(info.data.get("provider"), "scope")

    def grant(self, stored: Grant | None) -> Grant:
        """Returns the grant, with the stored secrets in place of those that were left out."""
        assert self.token_url, "the validator saw to it"
        if self.refresh_token is not None:
            refresh_token, origin = Secret(self.refresh_token), None
        else:
            assert stored, "the rules of models/inbox.py refuse it"
            refresh_token, origin = stored.refresh_token, stored.origin
        return Grant(self.token_url, self.client_id, self._secret(stored), refresh_token, self.scope, origin)

    def _secret(self, stored: Grant | None) -> Secret | None:
        if self.client_secret is not None:
            return Secret(self.client_secret)
        return stored.client_secret if stored and "client_secret" not in self.model_fields_set else None


_PUBLIC = names_of(OAuth2Config, but=("client_secret", "refresh_token"))


def consent_id(public: Mapping[str, Any], refresh_token: str) -> str:
    """Returns the id of a consent, a digest of its first refresh token, by which inboxes with the same consent match.

    The id stays when the token is rotated. A digest of a refresh token reveals nothing, because the token is random.
    """
    parts = ("consent", public["token_url"], public["client_id"], refresh_token)
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:CONSENT_ID]


def public_part(config: OAuth2Config) -> dict[str, Any]:
    """Returns the fields of a consent that are stored in clear."""
    return config.model_dump(include={*_PUBLIC}, mode="json")


OAuth2Patch = patch_of(
    OAuth2Config,
    "OAuth2Patch",
    "Changes to a consent. Fields that are left out stay as they are. Without a stored consent: a first one.",
)


@dataclass(frozen=True, slots=True)
class StoredOAuth2:
    """A stored consent without its secrets."""

    provider: OAuth2Provider | None
    token_url: str
    client_id: str
    scope: str | None
    has_client_secret: bool

    @classmethod
    def of(cls, stored: Mapping[str, Any], *, has_client_secret: bool) -> Self:
        """Reads a stored `public_part`, even if another program damaged it in the database."""
        provider = _PROVIDERS.get(str(stored.get("provider")))
        token_url, client_id = stored.get("token_url") or "", stored.get("client_id") or ""
        return cls(provider, token_url, client_id, stored.get("scope"), has_client_secret)

    def as_values(self) -> dict[str, Any]:
        """Returns the input that would set this consent, without secrets and the provider's presets."""
        values = {outside: getattr(self, name) for name, outside in _PUBLIC.items()}
        for name in ("token_url", "scope"):
            if values[_PUBLIC[name]] == _preset(self.provider, name):
                del values[_PUBLIC[name]]
        return values

    def is_client_of(self, values: Mapping[str, Any], known: OAuth2Config | None) -> bool:
        """Whether an input names this application and this address, perhaps by the provider.

        `known` is the validated form of the input, perhaps only in part.
        """
        url = getattr(known, "token_url", None) or _preset(getattr(known, "provider", None), "token_url")
        client_id = getattr(known, "client_id", None) if "clientId" in values else self.client_id
        return (url, client_id) == (self.token_url, self.client_id)


def _preset(provider: object, name: str) -> str | None:
    return getattr(PRESETS[provider], name) if isinstance(provider, OAuth2Provider) else None
