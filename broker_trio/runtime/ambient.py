"""Wall clock and chance for programs that were given no seams: users' own, on any event loop.

The seams' real versions import Trio. A user's program on asyncio must not pay for that, and needs
only these two: everything else of the world reaches a client through AnyIO.
"""

import random
import time


def wall_ms() -> int:
    """Milliseconds since 1970; may step either way."""
    return time.time_ns() // 1_000_000


def fresh_entropy() -> random.Random:
    """A generator seeded by the operating system: for ids and jitter, never for secrets."""
    return random.Random()
