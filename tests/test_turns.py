"""Turns: how many mail servers are asked at once, and how many may wait."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from limits import RateLimitItem, parse

from models.errors import RateLimited, Unavailable
from resolvers.mail_limits import AT_ONCE, CHECKS, LOOKUPS, WAITING, Turns

PLENTY = parse("1000/minute")


async def test_eight_at_once_eight_wait_and_the_next_is_refused() -> None:
    turns = Turns()
    release, having = asyncio.Event(), 0

    async def work() -> None:
        nonlocal having
        async with turns.taken(PLENTY, "user"):
            having += 1
            await release.wait()

    tasks = [asyncio.create_task(work()) for _ in range(AT_ONCE + WAITING)]
    await _let_run()
    assert having == AT_ONCE
    with pytest.raises(Unavailable) as refused:
        async with turns.taken(PLENTY, "another"):
            pass
    assert refused.value.retry_after
    release.set()
    await asyncio.gather(*tasks)
    assert having == AT_ONCE + WAITING
    async with turns.taken(PLENTY, "another"):
        pass


@pytest.mark.parametrize("has_turn", [True, False])
async def test_whoever_goes_away_leaves_the_turn_to_others(has_turn: bool) -> None:
    turns = Turns()
    async with AsyncExitStack() as stack:
        for _ in range(AT_ONCE - has_turn):
            await stack.enter_async_context(turns.taken(PLENTY, "user"))
        for _ in range(3 * (AT_ONCE + WAITING)):
            leaving = asyncio.create_task(_have(turns))
            await _let_run()
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
    async with AsyncExitStack() as stack:
        for _ in range(AT_ONCE):
            async with asyncio.timeout(1):
                await stack.enter_async_context(turns.taken(PLENTY, "user"))


async def test_who_fails_leaves_the_turn_to_others() -> None:
    turns = Turns()
    for _ in range(2 * (AT_ONCE + WAITING)):
        with pytest.raises(ValueError, match="x"):
            async with turns.taken(PLENTY, None):
                raise ValueError("x")


async def test_each_user_has_so_many_a_minute_of_each_kind() -> None:
    turns = Turns()
    for limit in (CHECKS, LOOKUPS):
        for _ in range(limit.amount):
            async with turns.taken(limit, "user"):
                pass
        with pytest.raises(RateLimited) as refused:
            async with turns.taken(limit, "user"):
                pass
        assert (refused.value.retry_after or 0) in range(1, 61)
        assert refused.value.limit == limit.amount
        async with turns.taken(limit, "another"):
            pass


async def test_the_shell_is_not_limited() -> None:
    turns = Turns()
    for _ in range(5 * CHECKS.amount):
        async with turns.taken(CHECKS, None):
            pass


async def test_what_is_refused_for_want_of_room_is_not_counted() -> None:
    turns = Turns()
    async with AsyncExitStack() as stack:
        for _ in range(AT_ONCE):
            await stack.enter_async_context(turns.taken(CHECKS, None))
        waiting = [asyncio.create_task(_have(turns, CHECKS)) for _ in range(WAITING)]
        await asyncio.sleep(0)
        for _ in range(2 * CHECKS.amount):
            with pytest.raises(Unavailable):
                await stack.enter_async_context(turns.taken(CHECKS, "user"))
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    async with turns.taken(CHECKS, "user"):
        pass


async def test_look_ups_keep_no_check_waiting() -> None:
    turns = Turns()
    async with AsyncExitStack() as stack:
        for _ in range(AT_ONCE):
            await stack.enter_async_context(turns.taken(LOOKUPS, None))
        async with asyncio.timeout(1), turns.taken(CHECKS, None):
            pass


async def _have(turns: Turns, limit: RateLimitItem = PLENTY) -> None:
    async with turns.taken(limit, None):
        await asyncio.Event().wait()


async def _let_run() -> None:
    """Lets every task come to where it waits."""
    for _ in range(20):
        await asyncio.sleep(0)
