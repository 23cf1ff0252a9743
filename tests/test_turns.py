"""Turns: how many mail servers are asked at once, and how many may wait."""

import asyncio
from contextlib import AsyncExitStack, nullcontext

import pytest
from limits import RateLimitItem, parse

from models.errors import RateLimited, Unavailable
from resolvers.mail_limits import CHECKS_PER_USER, LOOKUPS_PER_USER, MAX_RUNNING_CHECKS, MAX_WAITING_CHECKS, MailQuota

PLENTY = parse("1000/minute")


async def test_eight_at_once_eight_wait_and_the_next_is_refused() -> None:
    turns = MailQuota()
    release, having = asyncio.Event(), 0

    async def work() -> None:
        nonlocal having
        async with turns.slot(PLENTY, "user", nullcontext):
            having += 1
            await release.wait()

    tasks = [asyncio.create_task(work()) for _ in range(MAX_RUNNING_CHECKS + MAX_WAITING_CHECKS)]
    await _let_run()
    assert having == MAX_RUNNING_CHECKS
    with pytest.raises(Unavailable) as refused:
        async with turns.slot(PLENTY, "another", nullcontext):
            pass
    assert refused.value.retry_after
    release.set()
    await asyncio.gather(*tasks)
    assert having == MAX_RUNNING_CHECKS + MAX_WAITING_CHECKS
    async with turns.slot(PLENTY, "another", nullcontext):
        pass


@pytest.mark.parametrize("has_turn", [True, False])
async def test_whoever_goes_away_leaves_the_turn_to_others(has_turn: bool) -> None:
    turns = MailQuota()
    async with AsyncExitStack() as stack:
        for _ in range(MAX_RUNNING_CHECKS - has_turn):
            await stack.enter_async_context(turns.slot(PLENTY, "user", nullcontext))
        for _ in range(3 * (MAX_RUNNING_CHECKS + MAX_WAITING_CHECKS)):
            leaving = asyncio.create_task(_have(turns))
            await _let_run()
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
    async with AsyncExitStack() as stack:
        for _ in range(MAX_RUNNING_CHECKS):
            async with asyncio.timeout(1):
                await stack.enter_async_context(turns.slot(PLENTY, "user", nullcontext))


async def test_who_fails_leaves_the_turn_to_others() -> None:
    turns = MailQuota()
    for _ in range(2 * (MAX_RUNNING_CHECKS + MAX_WAITING_CHECKS)):
        with pytest.raises(ValueError, match="x"):
            async with turns.slot(PLENTY, None, nullcontext):
                raise ValueError("x")


async def test_each_user_has_so_many_a_minute_of_each_kind() -> None:
    turns = MailQuota()
    for limit in (CHECKS_PER_USER, LOOKUPS_PER_USER):
        for _ in range(limit.amount):
            async with turns.slot(limit, "user", nullcontext):
                pass
        with pytest.raises(RateLimited) as refused:
            async with turns.slot(limit, "user", nullcontext):
                pass
        assert (refused.value.retry_after or 0) in range(1, 61)
        assert refused.value.limit == limit.amount
        async with turns.slot(limit, "another", nullcontext):
            pass


async def test_the_shell_is_not_limited() -> None:
    turns = MailQuota()
    for _ in range(5 * CHECKS_PER_USER.amount):
        async with turns.slot(CHECKS_PER_USER, None, nullcontext):
            pass


async def test_what_is_refused_for_want_of_room_is_not_counted() -> None:
    turns = MailQuota()
    async with AsyncExitStack() as stack:
        for _ in range(MAX_RUNNING_CHECKS):
            await stack.enter_async_context(turns.slot(CHECKS_PER_USER, None, nullcontext))
        waiting = [asyncio.create_task(_have(turns, CHECKS_PER_USER)) for _ in range(MAX_WAITING_CHECKS)]
        await asyncio.sleep(0)
        for _ in range(2 * CHECKS_PER_USER.amount):
            with pytest.raises(Unavailable):
                await stack.enter_async_context(turns.slot(CHECKS_PER_USER, "user", nullcontext))
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    async with turns.slot(CHECKS_PER_USER, "user", nullcontext):
        pass


async def test_look_ups_keep_no_check_waiting() -> None:
    turns = MailQuota()
    async with AsyncExitStack() as stack:
        for _ in range(MAX_RUNNING_CHECKS):
            await stack.enter_async_context(turns.slot(LOOKUPS_PER_USER, None, nullcontext))
        async with asyncio.timeout(1), turns.slot(CHECKS_PER_USER, None, nullcontext):
            pass


async def _have(turns: MailQuota, limit: RateLimitItem = PLENTY) -> None:
    async with turns.slot(limit, None, nullcontext):
        await asyncio.Event().wait()


async def _let_run() -> None:
    """Lets every task come to where it waits."""
    for _ in range(20):
        await asyncio.sleep(0)
