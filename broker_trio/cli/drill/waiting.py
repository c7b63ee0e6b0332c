"""Waiting for something that only looking tells."""

from collections.abc import Callable

import trio


async def until(holds: Callable[[], object], every_s: float = 0.1) -> None:
    """Look, and look again, until it holds; a cancel scope around it limits that."""
    while True:
        if holds():
            return
        await trio.sleep(every_s)
