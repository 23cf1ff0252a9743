"""Setting, replacing, finding and deleting inboxes, over both APIs."""

import asyncio
from typing import Any

import pytest

from tests.api import Api, GraphQLApi, RestApi
from tests.inboxes import inbox_values
from tests.running import Running


async def test_an_inbox_is_created_and_shown_without_its_passwords(api: Api) -> None:
    values = inbox_values(description="For\nhelp", senderInfo="Example Support", department="Helpdesk")
    created = await api.set_inbox(values)
    assert created.inbox_id
    assert len(created.inbox_id) == 17
    shown = await api.inbox(created.inbox_id)
    assert shown
    for name in ("name", "email", "active", "description", "senderInfo", "department"):
        assert shown[name] == values[name]
    server = {"server": "smtp.example.org", "port": 465, "username": "support", "secure": True, "hasPassword": True}
    assert shown["smtp"] == server
    assert shown["imap"] == {**server, "server": "imap.example.org", "port": 993, "maxRetries": 10}
    assert shown["createdBy"]["username"] == "admin"
    assert shown["createdAt"].endswith("Z")
    assert len(shown["createdAt"]) == len("2026-01-31T12:00:00.000Z")


async def test_both_apis_show_the_same(server: Running) -> None:
    graphql, rest = GraphQLApi(server.client), RestApi(server.client)
    created = await graphql.set_inbox(inbox_values(department="All"))
    assert created.inbox_id
    one, other = await graphql.inbox(created.inbox_id), await rest.inbox(created.inbox_id)
    assert one
    assert one.pop("version") == 1
    assert one == other
    assert one["department"] is None


async def test_an_inbox_is_created_under_a_given_id_and_replaced_there(api: Api) -> None:
    assert (await api.set_inbox(inbox_values(id="JdVkn_dkOlms_", description="old"))).inbox_id == "JdVkn_dkOlms_"
    assert (await api.set_inbox(inbox_values(id="JdVkn_dkOlms_", name="Sales"))).inbox_id == "JdVkn_dkOlms_"
    shown = await api.inbox("JdVkn_dkOlms_")
    assert shown
    assert (shown["name"], shown["description"]) == ("Sales", None)
