"""The GraphQL schema: the root types Query, Mutation and Subscription, and how operations are executed."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLError,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    Undefined,
)
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.graphql import OperationType

from schema import check, inbox, mail_settings, session, token, user
from schema.context import GraphQLContext
from schema.errors import to_graphql_error
from schema.http.extensions import DocumentCache
from schema.http.observation import ObservationExtension, observe
from schema.plans.executor import executor_class
from schema.scalars import DATE_TIME


@strawberry.type(description="What can be read.")
class Query:
    viewer = strawberry.field(
        resolver=session.viewer,
        graphql_type=user.User,
        description="The caller: the user that the credentials belong to.",
    )
    email_inbox = strawberry.field(
        resolver=inbox.email_inbox,
        graphql_type=inbox.EmailInbox | None,
        description="One inbox, by id or by address (exactly one argument). "
        "Null if there is none, or if the caller may not see it.",
    )
    email_inboxes = strawberry.field(
        resolver=inbox.email_inboxes,
        description="Inboxes in a stable order, paged by keyset cursors. first/last 1..100.",
    )
    changes_cursor = strawberry.field(
        resolver=inbox.changes_cursor,
        description="Cursor of the newest change. Ask for it, then read the inboxes, then follow `emailInboxChanged` "
        "with `after`: nothing is missed.",
    )
    mail_server_settings = strawberry.field(
        resolver=mail_settings.mail_server_settings,
        graphql_type=mail_settings.MailServerSettings,
        description="SMTP and IMAP servers to try for an address: those of well-known providers, and what its domain "
        "says itself. A proposal is not proof: `checkEmailInbox` is. At most 30 a minute. Needs MANAGE_EMAIL_INBOX.",
    )
    users = strawberry.field(resolver=user.users, description="Users by username. Needs MANAGE_USERS.")
    access_tokens = strawberry.field(
        resolver=token.access_tokens,
        graphql_type=list[token.AccessToken],
        description="The caller's own tokens, newest first; the token itself is never shown again.",
    )


@strawberry.type(description="What can be changed.")
class Mutation:
    set_email_inbox = strawberry.field(
        resolver=inbox.set_email_inbox,
        description="Creates the inbox, or replaces the one with this id. Without id, a new id is made. "
        "With an id that no inbox has, the inbox is created under that id.",
    )
    update_email_inbox = strawberry.field(
        resolver=inbox.update_email_inbox,
        description="Changes only the fields that are given (null clears an optional one).",
    )
    delete_email_inbox = strawberry.field(resolver=inbox.delete_email_inbox, description="Deletes the inbox.")
    check_email_inbox = strawberry.field(
        resolver=check.check_email_inbox,
        description="Connects to the mail servers of an inbox, stored or not saved yet, and reports step by step what "
        "works. Nothing is saved and no mail is sent. At most 10 a minute, with test mails. Needs MANAGE_EMAIL_INBOX.",
    )
    send_test_email = strawberry.field(
        resolver=check.send_test_email,
        description="Sends a test mail from an active inbox and waits for the mail server's answer. "
        "Needs MANAGE_EMAIL_INBOX.",
    )
    login = strawberry.field(
        resolver=session.login, description="By username or e-mail address. The token is valid for 90 days."
    )
    logout = strawberry.field(resolver=session.logout, description="Revokes the token that the request was made with.")
    create_user = strawberry.field(resolver=user.create_user, description="Creates a user. Needs MANAGE_USERS.")
    update_user = strawberry.field(
        resolver=user.update_user,
        description="Changes only the fields that are given. A new password revokes the user's tokens. "
        "Needs MANAGE_USERS.",
    )
    delete_user = strawberry.field(
        resolver=user.delete_user, description="Deletes the user and the user's tokens. Needs MANAGE_USERS."
    )
    create_access_token = strawberry.field(
        resolver=token.create_access_token,
        description="For the caller; permissions at most the caller's own. The answer is the only time the token is "
        "shown.",
    )
    revoke_access_token = strawberry.field(
        resolver=token.revoke_access_token, description="Revokes one of the caller's tokens."
    )


@strawberry.type(description="What can be followed.")
class Subscription:
    email_inbox_changed = strawberry.subscription(
        resolver=inbox.email_inbox_changed,
        description="Every change of an inbox that the caller may see, sent after it is committed. With `after`, "
        "starts with all changes since that cursor.",
    )


class Schema(strawberry.Schema):
    """The schema. Masks errors in its results, and completes plain fields by plans."""

    def __init__(self, *, introspection: bool, extensions: Sequence[type[SchemaExtension]] = ()) -> None:
        """`extensions` run on every request, besides our own."""
        self._documents = DocumentCache(introspection=introspection)
        self._has_more_extensions = bool(extensions)
        super().__init__(
            query=Query,
            mutation=Mutation,
            subscription=Subscription,
            config=StrawberryConfig(scalar_map={datetime: DATE_TIME}, disable_field_suggestions=not introspection),
            extensions=[ObservationExtension, self._documents.extension(), *extensions],
            execution_context_class=executor_class(self._documents.plans),
        )
        _tell_null_from_absent(self)

    def _warn_for_federation_directives(self) -> None:
        """Does nothing: there are no federation directives, and strawberry would load all of them to check."""

    async def execute(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,
        root_value: Any | None = None,
        operation_name: str | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> ExecutionResult:
        """Does what our own extensions do, and no more, where there is a bypass."""
        sent, allowed = variable_values or {}, allowed_operation_types or ()
        bypass = None if self._has_more_extensions else self._documents.bypass(self, query or "", operation_name)
        variables = bypass.variables(sent) if bypass and bypass.kind in allowed else None
        if bypass is None or variables is None or root_value is not None or operation_extensions is not None:
            return await super().execute(
                query,
                variable_values,
                context_value,
                root_value,
                operation_name,
                allowed_operation_types,
                operation_extensions,
            )
        context: Any = context_value
        with observe(context.context.observer, bypass.name):
            result = await bypass.run(context, variables)
            if result.errors:
                execution_context = self._create_execution_context(query, allowed, sent, context, None, operation_name)
                self._process_errors(result.errors, execution_context)
        return ExecutionResult(result.data, result.errors, {})

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        context: GraphQLContext | None = execution_context.context if execution_context else None
        request_id = context.context.request_id if context else ""
        errors[:] = [to_graphql_error(error, request_id) for error in errors]


def build_schema(*, introspection: bool = True) -> Schema:
    """Builds the executable schema."""
    return Schema(introspection=introspection)


def _tell_null_from_absent(schema: Schema) -> None:
    """Drops the defaults `= null`, so that an omitted field differs from one that is set to null."""
    for kind in schema._schema.type_map.values():
        if isinstance(kind, GraphQLObjectType):
            slots: list[GraphQLArgument | GraphQLInputField] = [
                slot for field in kind.fields.values() for slot in field.args.values()
            ]
        else:
            slots = list(kind.fields.values()) if isinstance(kind, GraphQLInputObjectType) else []
        for slot in slots:
            if slot.default_value is None:
                slot.default_value = Undefined
