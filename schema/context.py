"""The context of one GraphQL request: the resolvers' context, and the loaders that batch look-ups."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import strawberry
from strawberry.dataloader import DataLoader

from models.user import User
from resolvers.access import Authenticator
from resolvers.context import Context
from resolvers.user import users_by_id


@dataclass
class GraphQLContext:
    """The context of a request or a WebSocket. All fields but `context` are for WebSockets only.

    `connection_params` is the payload of `connection_init`. `admit` raises the message size limit, `identified` reports
    that the client has credentials; `anonymous` is true if it connected without any.
    """

    context: Context
    authenticator: Authenticator | None = None
    connection_params: dict[str, Any] | None = None
    admit: Callable[[], None] | None = None
    identified: Callable[[], None] | None = None
    anonymous: bool = False

    @cached_property
    def users(self) -> DataLoader[str, User | None]:
        """Users by id. No cache: a WebSocket's context lives so long that cached users would become stale."""
        return DataLoader(partial(_load_users, self.context), cache=False)  # a method would make a reference cycle

    def admitted(self, *, anonymous: bool) -> None:
        """Runs the callbacks of an acknowledged connection."""
        self.anonymous = anonymous
        if self.admit:
            self.admit()
        if self.identified and not anonymous:
            self.identified()


async def _load_users(context: Context, user_ids: list[str]) -> list[User | None]:
    users = await users_by_id(context, user_ids)
    return [users.get(user_id) for user_id in user_ids]


Info = strawberry.Info[GraphQLContext, None]
