"""How far a slave is behind, in bytes, messages and seconds, as both sides say it."""

import trio

from broker_trio.broker.replication.streaming import Streaming
from broker_trio.testing.cluster.cluster import SMALL
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World
from tests.sim.replication_rig import Rig
from tests.sim.store_workload import ASYNC
from tests.sim.test_pair_programs import started
from tests.sim.test_replication_cases import burst

SLOW = Streaming(chunk_bytes=700, catch_up_bytes_per_s=20_000, level_bytes=2_000)


def test_both_sides_say_how_far_a_slave_is_behind() -> None:
    """Within what is on the wire they say the same; nothing is left once it is level."""

    async def scenario(world: World) -> None:
        rig = Rig(world, ASYNC, streaming=SLOW)
        rig.first_record(least=1)
        master = await rig.up("a")
        for seed in range(4):
            burst(rig, "a", seed, 20)
        sent = len(rig.journal.sent)
        slave = await rig.up("b")
        await trio.sleep(1.5)
        own, (other,) = slave.replication.lag, master.replication.lags(trio.current_time())
        assert own is not None
        for lag in (own, other):
            assert lag.replica_id == 2
            assert 10_000 < lag.bytes < master.store.log.max_offset
            assert sent // 4 < lag.messages < sent
            assert 1_000 < lag.ms < 3_000
            assert not lag.in_sync
        assert abs(own.bytes - other.bytes) < 3_000
        await rig.level(within_s=60)
        await trio.sleep(1.1)
        own, (other,) = slave.replication.lag, master.replication.lags(trio.current_time())
        assert own is not None
        for lag in (own, other):
            assert (lag.bytes, lag.messages, lag.ms) == (0, 0, 0)
        rig.kill("a")
        await trio.sleep(15)
        assert slave.replication.lag is None, "without a master nobody knows"

    simulate(31, scenario)


def test_the_lag_is_in_the_status_of_whole_programs() -> None:
    """What `pair status` prints comes from here."""

    async def scenario(world: World) -> None:
        programs = await started(world, SMALL, "sync")
        await programs.send(5)
        await trio.sleep(1.1)
        told = {name: programs.apps[name].parts.pairing.records.replica.status() for name in "ab"}
        (slave,) = told["a"].slaves
        assert (slave.replica_id, slave.bytes, slave.in_sync) == (2, 0, True)
        assert told["a"].lag is None
        assert told["b"].lag is not None
        assert (told["b"].lag.bytes, told["b"].slaves) == (0, ())

    simulate(32, scenario)
