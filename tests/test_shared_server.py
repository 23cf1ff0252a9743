"""What the fixture `shared_server` holds its tests to."""

from tests.api import GraphQLApi
from tests.inboxes import inbox_values
from tests.running import Running, rows_of


async def test_a_test_that_stores_something_is_found_out(server: Running) -> None:
    before = await rows_of(server)
    await GraphQLApi(server.client).set_inbox(inbox_values())
    assert await rows_of(server) != before


async def test_a_token_that_ends_is_a_change_too(server: Running) -> None:
    before = await rows_of(server)
    await server.graphql("mutation { logout { success } }")
    assert await rows_of(server) != before


async def test_a_test_that_reads_has_changed_nothing(server: Running) -> None:
    before = await rows_of(server)
    assert (await server.client.get("/api/v1/email-inbox.list")).status_code == 200
    await server.app.state.authenticator.flush()
    assert await rows_of(server) == before
