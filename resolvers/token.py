"""Lists, creates and revokes the caller's own access tokens. Knows neither GraphQL nor REST, and no SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from models import token as tokens
from models.database.columns import now
from models.errors import ErrorCode, Forbidden, Problem, Refused, Unauthenticated, shortened
from models.secrets import Secret
from models.token import AccessToken, TokenConfig
from models.user import Permission, UserConfig
from models.validation import examine, validated_value
from resolvers.access import requires
from resolvers.context import Caller, Context

TOO_MANY = f"You have {tokens.MAX_ACCESS_TOKENS} access tokens, which is the limit: revoke one that you no longer need."


@dataclass(frozen=True, slots=True)
class NewToken:
    """An access token and its value, which is never returned again."""

    access_token: AccessToken
    token: Secret


@requires()
async def access_tokens(context: Context) -> Sequence[AccessToken]:
    """Returns the caller's valid tokens, newest first."""
    return await context.database.read(tokens.of_user((await context.caller()).user.id))


@requires()
async def create_access_token(context: Context, values: Mapping[str, Any]) -> NewToken:
    """Creates a token for the caller from the input as the client sent it. Raises Refused with every problem."""
    caller = await context.caller()
    config, problems = examine(TokenConfig, values, "input")
    if config is not None:
        problems += _config_problems(config, caller)
    if config is None or problems:
        raise Refused(problems)
    token, permissions = tokens.new_token(), _granted_permissions(config, caller)
    name, ends = config.name, config.expires_at

    def unit(session: Session) -> AccessToken:
        # The caller's own token may have been revoked since it was looked up.
        if caller.token_id and session.get(AccessToken, caller.token_id, with_for_update=True) is None:
            raise Unauthenticated
        if tokens.is_full(session, caller.user.id):
            raise Refused.because(ErrorCode.CONFLICT, TOO_MANY)
        return tokens.add(session, caller.user.id, tokens.digest(token), name, ends, permissions)

    return NewToken(await context.database.write(unit), token)


@requires()
async def revoke_access_token(context: Context, token_id: str) -> str:
    """Revokes one of the caller's tokens and returns its id. Raises Refused if the caller has none with this id."""
    caller = await context.caller()
    if caller.narrowed and token_id != caller.token_id:
        raise Forbidden("A token with narrowed permissions can revoke no token but itself.")
    user_id = caller.user.id
    known_id = validated_value(UserConfig, "id", token_id)
    if not isinstance(known_id, str) or not await context.database.write(
        lambda session: tokens.revoke(session, known_id, user_id)
    ):
        raise Refused.because(ErrorCode.NOT_FOUND, "You have no access token with this id.", "id")
    return token_id


async def revoke_any_access_token(context: Context, token_id: str) -> None:
    """Revokes any user's token, for the shell only. Raises Forbidden, Refused."""
    await context.require(Permission.MANAGE_USERS)
    if not await context.database.write(lambda session: tokens.revoke(session, token_id)):
        raise Refused.because(ErrorCode.NOT_FOUND, f"There is no token with id {shortened(token_id)!r}.", "id")


def _config_problems(config: TokenConfig, caller: Caller) -> list[Problem]:
    """Returns problems for permissions that the caller lacks, and for an expiry in the past."""
    problems = []
    beyond = [permission.name for permission in config.permissions or [] if not caller.may(permission)]
    if beyond:
        message = f"permissions must be your own; you lack {', '.join(beyond)}."
        problems.append(Problem(ErrorCode.INVALID, message, ("input", "permissions")))
    if config.expires_at and config.expires_at <= now():
        problems.append(Problem(ErrorCode.INVALID, "expiresAt must be in the future.", ("input", "expiresAt")))
    return problems


def _granted_permissions(config: TokenConfig, caller: Caller) -> Sequence[Permission] | None:
    """Returns the token's permissions. A caller with a narrowed token can't widen them by leaving them out."""
    if config.permissions is None and caller.narrowed:
        return sorted(caller.permissions)
    return config.permissions
