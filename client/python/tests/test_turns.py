"""Starting many calls at once leaves an event loop its turns."""

from __future__ import annotations

import asyncio
import gc
import weakref

from polarway._turns import MOST, Turns, turns


async def test_a_turn_starts_so_many_and_the_others_follow_in_order() -> None:
    loop = asyncio.get_running_loop()
    started: list[int] = []
    of_turns: list[int] = []

    async def start(number: int) -> None:
        await turns(loop).enter()
        started.append(number)

    async def watch() -> None:
        while len(started) < 5 * MOST:
            before = len(started)
            await asyncio.sleep(0)
            of_turns.append(len(started) - before)

    watching = asyncio.ensure_future(watch())
    await asyncio.gather(*(start(number) for number in range(5 * MOST)))
    await watching
    assert started == list(range(5 * MOST))
    assert max(of_turns) <= MOST


async def test_who_is_cancelled_takes_nobodys_place() -> None:
    of_loop = Turns()
    tasks = [asyncio.ensure_future(of_loop.enter()) for _ in range(4 * MOST)]
    await asyncio.sleep(0)
    for task in tasks[MOST : 3 * MOST]:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(end, asyncio.CancelledError) for end in ended) == 2 * MOST
    assert ended[3 * MOST :] == [None] * MOST
    # And later there is room at once.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    entering = of_loop.enter()
    entering.close()


def test_a_loop_that_is_gone_is_forgotten() -> None:
    loop = asyncio.new_event_loop()
    turns(loop)
    loop.close()
    left = weakref.ref(loop)
    del loop
    gc.collect()
    assert left() is None
