"""Three replicas of one broker name, whole programs: the third follows whoever owns, and counts for
nothing: not for SEND_OK, not for a lease, not for a promotion."""

import pytest
import trio

from broker_trio.broker.config import BrokerConfig, ReplicationSection, check
from broker_trio.broker.replication.machine import Wish
from broker_trio.model.errors import Refused
from broker_trio.testing.cluster.cluster import SYNC
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World
from tests.sim.replication_rig import bytes_of
from tests.sim.test_pair_programs import Programs, started


def state(programs: Programs, name: str) -> str:
    return programs.apps[name].parts.pairing.records.replica.status().state


async def until(programs: Programs, **wanted: str) -> None:
    with trio.fail_after(60):
        while any(state(programs, name) != one for name, one in wanted.items()):  # noqa: ASYNC110
            await trio.sleep(0.1)


async def same_bytes(programs: Programs, one: str, other: str) -> None:
    logs = [programs.apps[name].parts.store for name in (one, other)]
    end = logs[0].log.max_offset
    with trio.fail_after(30):
        while logs[1].log.max_offset != end:  # noqa: ASYNC110
            await trio.sleep(0.1)
    assert await bytes_of(logs[0], 0, end) == await bytes_of(logs[1], 0, end)


async def three(world: World) -> None:
    programs = await started(world, SYNC, "sync", "abc")
    await until(programs, a="owner", b="slave", c="learner")
    await programs.send(10)
    await same_bytes(programs, "a", "c")
    told = programs.apps["a"].parts.pairing.records.replica.status()
    assert {lag.replica_id: lag.in_sync for lag in told.slaves} == {2: True, 3: False}
    learner = programs.apps["c"].parts.pairing.records.replica
    for want in ("promote", "degrade"):
        with pytest.raises(Refused, match="cannot do that"):
            await learner.propose(Wish(want))
    world.nodes["b"].kill()
    await trio.sleep(5)
    refused = await programs.send(1)
    assert isinstance(refused[0], Exception), "two copies are needed, and a learner's is none"
    owner = programs.apps["a"].parts.pairing.records.replica
    await owner.propose(Wish("degrade"))
    await until(programs, a="owner")
    await trio.sleep(30)
    assert len(owner.members) == 1, "a learner is not restored in the other's place"
    await programs.up("b")
    await trio.sleep(15)
    assert len(owner.members) == 2
    await until(programs, a="owner", b="slave", c="learner")
    world.nodes["a"].kill()
    await programs.apps["b"].parts.pairing.records.replica.propose(Wish("promote"))
    await until(programs, b="owner", c="learner")
    await programs.up("a")
    await until(programs, a="slave", b="owner", c="learner")
    await programs.send(10)
    await same_bytes(programs, "b", "c")
    await same_bytes(programs, "b", "a")


@pytest.mark.slow
def test_a_third_replica_follows_every_master_and_never_counts() -> None:
    """Through a dead slave, a promotion and the old master's return."""
    simulate(41, three)


def test_replicas_beyond_the_two_are_named_once_each() -> None:
    """A wrong list is refused with all of its mistakes."""
    pair = ReplicationSection(
        replica_id=1, peer="h:1", key_file="k", others=("h:1", "nonsense", "h:2")
    )
    problems = check(BrokerConfig(nameservers=("h:9876",), replication=pair))
    assert any("replication.others = 'nonsense'" in one for one in problems)
    assert any("each once" in one for one in problems)
    lone = ReplicationSection(others=("h:1",))
    assert check(BrokerConfig(replication=lone)) == ["replication.others without replication.peer"]
