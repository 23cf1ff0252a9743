"""What the fields of one GraphQL request share: the resolvers' context, and the loaders that gather their look-ups."""

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
    """All but `context` is for a WebSocket alone.

    `connection_params` is what the client sent when it connected. `admit` lets larger messages in, `identified` says
    that the client is known; `anonymous` is true where the client has connected without credentials.
    """

    context: Context
    authenticator: Authenticator | None = None
    connection_params: dict[str, Any] | None = None
    admit: Callable[[], None] | None = None
    identified: Callable[[], None] | None = None
    anonymous: bool = False

    @cached_property
    def users(self) -> DataLoader[str, User | None]:
        """Users by id. None is kept: a WebSocket's context outlives what a cache would hold."""
        return DataLoader(partial(_load_users, self.context), cache=False)  # not `self`, which would refer to itself

    def admitted(self, *, anonymous: bool) -> None:
        """The connection is acknowledged."""
        self.anonymous = anonymous
        if self.admit:
            self.admit()
        if self.identified and not anonymous:
            self.identified()


async def _load_users(context: Context, user_ids: list[str]) -> list[User | None]:
    found = await users_by_id(context, user_ids)
    return [found.get(user_id) for user_id in user_ids]


Info = strawberry.Info[GraphQLContext, None]
