"""Where chance comes from in a running process: one generator, seeded by the operating system.

It serves ids, jitter and choices. Secrets (tokens, keys) never come from here: they need
`secrets`, and a simulator that could repeat them would make them worthless.
"""

import random

from broker_trio.runtime.seams import Entropy


def real_entropy() -> Entropy:
    """A generator that no other process shares. One per process; hand it down by constructor."""
    return random.Random()
