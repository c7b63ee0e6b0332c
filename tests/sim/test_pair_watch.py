"""The watch of a simulated pair: what nobody outside the simulator could see, it does."""

import pytest
import trio

from broker_trio.testing.checkers.verdict import Violation
from broker_trio.testing.cluster.pair import MODES, Pair
from broker_trio.testing.cluster.producer import SimProducer
from broker_trio.testing.scenarios.catalogue import silence
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World

LOG = "commitlog/00000000000000000000"


async def one_bit(world: World) -> None:
    """Both logs are alike; then a bit of the slave's is not."""
    pair = Pair(world, MODES[1])
    await pair.whole()
    producer = SimProducer(pair, "p", "t", pause_s=0.0)
    producer.go(20)
    await producer.done()
    await trio.sleep(1.0)
    pair.watch.look()
    end = pair.apps["b1"].parts.store.log.written_offset
    assert end == pair.apps["b0"].parts.store.log.written_offset > 0
    pair.node("b1").disk.flip_bit(LOG, 8 * (end - 100))
    with pytest.raises(Violation, match="I8"):
        pair.watch.look()


def test_a_slaves_log_is_a_beginning_of_its_masters_at_every_look() -> None:
    """One bit in front of the end that differs is seen."""
    with silence():
        simulate(1, one_bit)
