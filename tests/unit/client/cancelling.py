"""Cancel a coroutine where it waits for the n-th time, whatever it waits for."""

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import anyio


@types.coroutine
def _stepped(
    inner: Coroutine[Any, Any, object], at: int, scope: anyio.CancelScope
) -> Generator[Any, Any, int]:
    """Run `inner`; how often it waited. What it yields goes to the loop as it is."""
    steps, value, error = 0, None, None
    while True:
        try:
            trap = inner.send(value) if error is None else inner.throw(error)
        except StopIteration:
            return steps
        steps += 1
        if steps == at:
            scope.cancel()
        value, error = None, None
        try:
            value = yield trap
        except BaseException as caught:  # noqa: BLE001  # thrown into inner
            error = caught


async def cancelled_at(at: int, make: Callable[[], Coroutine[Any, Any, object]]) -> bool:
    """Whether the coroutine waited that often at all: then it was cancelled there."""
    with anyio.CancelScope() as scope:
        steps = await _stepped(make(), at, scope)
        return steps >= at
    return True


async def at_every_checkpoint(
    make: Callable[[], Coroutine[Any, Any, object]],
    check: Callable[[int], Awaitable[None]],
    *,
    most: int = 500,
) -> int:
    """Cancel at the first, second, … wait until the coroutine ends before; how many there were."""
    for at in range(1, most):
        if not await cancelled_at(at, make):
            return at - 1
        await check(at)
    raise AssertionError(f"more than {most} checkpoints")
