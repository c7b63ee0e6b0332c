"""Every source of Entropy against the same suite."""

from collections.abc import Callable

import pytest

from broker_trio.runtime.entropy import real_entropy
from broker_trio.runtime.seams import Entropy
from broker_trio.testing.contracts.entropy import EntropyContract
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World


class TestRealEntropy(EntropyContract):
    @pytest.fixture
    def make(self) -> Callable[[], Entropy]:
        return real_entropy


class TestWorldEntropy(EntropyContract):
    @pytest.fixture
    def make(self) -> Callable[[], Entropy]:
        async def scenario(world: World) -> list[Entropy]:
            return [world.rng(f"process/{number}") for number in range(2)]

        sources = iter(simulate(1, scenario).value)
        return lambda: next(sources)
