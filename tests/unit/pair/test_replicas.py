"""Replicas with their files, leases and orders: a pair comes up, loses parts, changes hands."""

import errno
import random

import pytest
import trio

from broker_trio.broker.replication.state_file import STATE_PATH, load_state
from broker_trio.model.errors import Refused, StoreCorrupt
from broker_trio.model.pair import Risk
from broker_trio.testing.sim_disk import SimDisk

from .cluster import Cluster, Node, Pair, pair, wait_for


async def test_a_new_pair_comes_up_and_counts_both_copies(autojump_clock):
    """The first record is its master's alone and acknowledges nothing; the second names both."""
    async with pair() as found:
        a, b = found.a.replica, found.b.replica
        assert a.owns
        assert a.members == b.members == (a.store_id, b.store_id)
        assert (a.min_copies, a.settled) == (2, b.settled)
        assert a.may_write(trio.current_time()) is None
        assert a.counted(b.store_id)
        assert not a.counted("f" * 32)
        assert b.may_write(trio.current_time()).code == 16
        assert [w.service.witness.owner("broker-a") for w in found.witnesses] == [a.store_id] * 3


async def test_an_async_pair_writes_with_one_copy_at_once(autojump_clock):
    """One copy is enough there: the first record can write before a slave came."""
    async with trio.open_nursery() as nursery:
        found = Pair(nursery, mode="async")
        found.streaming = False
        await found.until(found.a, "owner")
        found.a.append()
        assert found.a.replica.may_answer_alone(trio.current_time())
        nursery.cancel_scope.cancel()


async def test_without_a_lease_nothing_is_written(autojump_clock):
    """Cut from witnesses and partner the owner stops within one lease, and goes on afterwards."""
    async with pair() as found:
        far = ["ns0:9876", "ns1:9876", "ns2:9876", "b:10911"]
        found.cluster.cut |= {("a:10911", one) for one in far}
        await trio.sleep(5)
        assert found.a.state == "owner"
        await trio.sleep(2)
        with pytest.raises(Refused, match="no lease: neither 2 of 3 nameservers nor the other"):
            found.a.append()
        assert found.a.state == "owner, no lease"
        found.cluster.cut.clear()
        await found.until(found.a, "owner")
        found.a.append()


@pytest.mark.parametrize("left", ["partner", "witnesses"])
async def test_either_half_of_the_world_is_a_lease(autojump_clock, left):
    """The partner alone, or two of three witnesses alone, keep the owner writing."""
    gone = ["ns0:9876", "ns1:9876", "ns2:9876"] if left == "partner" else ["b:10911", "ns0:9876"]
    async with pair() as found:
        found.cluster.cut |= {("a:10911", one) for one in gone}
        await trio.sleep(30)
        found.a.append()


async def test_promote_after_the_master_died_needs_no_wait(autojump_clock):
    """Sync: B owns as soon as two witnesses took its record; A follows when it is back."""
    async with pair() as found:
        found.a.append()
        await trio.sleep(0.2)
        found.a.kill()
        found.witnesses[0].cluster.down.add("ns0:9876")
        began = trio.current_time()
        await found.order(found.b, "promote")
        await found.until(found.b, "owner")
        assert trio.current_time() - began < 0.5
        found.b.append()
        found.a.start(found.nursery)
        await found.until(found.a, "slave")
        assert found.a.replica.settled == found.b.replica.settled
        assert not found.a.replica.leads


async def test_one_copy_after_degrade_and_two_again_by_itself(autojump_clock):
    """degrade lets the owner answer alone; a slave that is level again is restored."""
    async with pair() as found:
        found.b.kill()
        found.a.append()
        assert not found.a.replica.may_answer_alone(trio.current_time())
        await found.order(found.a, "degrade")
        await found.until(found.a, "owner")
        assert found.a.replica.may_answer_alone(trio.current_time())
        alone = found.a.replica.settled
        found.b.start(found.nursery)
        await wait_for(lambda: len(found.a.replica.members) == 2 and found.b.state == "slave")
        assert found.a.replica.min_copies == 2
        assert found.b.replica.settled > alone


async def test_a_silent_slave_is_not_restored(autojump_clock):
    """It was level when it was heard last: with its copy counted nothing could be written."""
    async with pair() as found:
        found.b.kill()
        await found.order(found.a, "degrade")
        await found.until(found.a, "owner")
        found.b.start(found.nursery)
        await wait_for(lambda: any(one.level_since for one in found.a.replica.followers.values()))
        (level,) = found.a.replica.followers.values()
        found.streaming = False
        await trio.sleep(8)
        assert found.a.replica.followers == {found.b.replica.store_id: level}
        assert level.level_since is not None, "only its silence speaks against it"
        assert (found.a.state, found.a.replica.min_copies) == ("owner", 1)
        found.streaming = True
        await wait_for(lambda: found.a.replica.min_copies == 2)


async def test_the_barred_slave_cannot_be_promoted(autojump_clock):
    """After degrade the witnesses refuse the old slave: it lacks what was answered alone."""
    async with pair() as found:
        found.streaming = False
        found.cluster.cut |= {("a:10911", "b:10911"), ("b:10911", "a:10911")}
        await found.order(found.a, "degrade")
        await found.until(found.a, "owner")
        found.a.append()
        await found.order(found.b, "promote", above=found.a.replica.epoch.counter)
        await trio.sleep(20)
        assert (found.a.state, found.b.state) == ("owner", "proposing")
        assert "below the floor" in found.b.lease.unanswered["ns0:9876"]


async def test_async_promote_waits_for_the_old_lease(autojump_clock):
    """One copy was enough: whoever wrote alone may do so until its lease is over."""
    async with pair(mode="async") as found:
        found.cluster.cut |= {
            (one, other) for one in ("a:10911", "b:10911") for other in ("a:10911", "b:10911")
        }
        found.streaming = False
        began = trio.current_time()
        await found.order(found.b, "promote")
        await found.until(found.b, "owner")
        assert trio.current_time() - began >= 6.0 * 1.02
        assert found.a.state == "detached"


async def test_switchover_hands_over_without_loss(autojump_clock):
    """A pauses, B takes over at exactly A's end, A follows."""
    async with pair() as found:
        found.a.append()
        paused = await found.order(found.a, "pause")
        with pytest.raises(Refused, match="paused"):
            found.a.append()
        began = trio.current_time()
        await found.order(found.b, "handover", end=paused.log_end)
        await found.until(found.b, "owner")
        assert trio.current_time() - began < 1.0
        await found.until(found.a, "slave")
        found.b.append()


async def test_a_handover_that_the_master_outran_changes_nothing(autojump_clock):
    """A that went on writing does not take it, and no witness hears of it."""
    async with pair(mode="async") as found:
        paused = await found.order(found.a, "pause")
        found.streaming = False
        await found.order(found.a, "resume")
        found.a.append()
        await found.order(found.b, "handover", end=paused.log_end)
        await trio.sleep(5)
        assert (found.a.state, found.b.state) == ("owner", "proposing")
        owners = {w.service.witness.owner("broker-a") for w in found.witnesses}
        assert owners == {found.a.replica.store_id}


async def test_a_restarted_owner_takes_a_new_epoch(autojump_clock):
    """Rule 8, with nobody's help; and the slave follows it there."""
    async with pair() as found:
        before = found.a.replica.settled
        found.a.kill()
        await trio.sleep(1)
        found.a.start(found.nursery)
        await found.until(found.a, "owner")
        assert found.a.replica.settled > before
        assert found.a.replica.settled.owner == before.owner
        await found.until(found.b, "slave")


async def test_an_unfinished_promote_is_not_resumed_by_a_restart(autojump_clock):
    """Its proposal stays and is shown; run again, the command finishes it."""
    async with pair() as found:
        found.a.kill()
        found.cluster.cut |= {("b:10911", f"ns{n}:9876") for n in range(3)}
        await found.order(found.b, "promote")
        await trio.sleep(3)
        found.b.kill()
        found.cluster.cut.clear()
        found.b.start(found.nursery)
        await trio.sleep(20)
        assert found.b.state == "proposing"
        epoch = found.b.replica.epoch
        await found.order(found.b, "promote", above=epoch.counter)
        await found.until(found.b, "owner")
        assert found.b.replica.settled == epoch


async def test_a_replaced_disk_is_a_learner_until_restored(autojump_clock):
    """B's empty disk is another store: not counted, and not a member by its name."""
    async with pair() as found:
        found.b.kill()
        found.b.disk, found.b.log.max_offset = SimDisk(random.Random(9)), 0
        found.b.log.flushed_offset = 0
        found.a.append()
        found.b.start(found.nursery)
        await found.until(found.b, "learner")
        assert not found.a.replica.counted(found.b.replica.store_id)
        with pytest.raises(Refused, match="no member"):
            await found.order(found.b, "promote")
        await found.order(found.a, "degrade")
        await found.until(found.b, "slave")


async def test_accepted_loss_is_recorded_and_waits(autojump_clock):
    """A forced record needs a majority and a wait, and says who accepted it."""
    async with pair() as found:
        found.a.kill()
        with pytest.raises(Refused, match="names who accepts"):
            await found.order(found.b, "force")
        began = trio.current_time()
        await found.order(found.b, "force", risk=Risk("me", "the host burnt", 1))
        await found.until(found.b, "owner")
        assert trio.current_time() - began > 6
        kept = load_state(found.b.disk)
        assert (kept.settled.risk.operator, kept.settled.members) == (
            "me", (found.b.replica.store_id,),
        )  # fmt: skip


async def test_fenced_hosts_need_no_witness(autojump_clock):
    """--fenced: without any nameserver the replica writes, until its next normal record."""
    async with pair() as found:
        found.a.kill()
        found.cluster.down |= {f"ns{n}:9876" for n in range(3)}
        await found.order(found.b, "force", risk=Risk("me", "a is off", 1), unleased=True)
        await found.until(found.b, "owner")
        await trio.sleep(60)
        found.b.append()


async def test_fence_takes_abilities_away_until_rejoin(autojump_clock):
    """A fenced owner writes nothing, also after a restart."""
    async with pair() as found:
        await found.order(found.a, "fence")
        with pytest.raises(Refused, match="fenced by an operator"):
            found.a.append()
        found.a.kill()
        found.a.start(found.nursery)
        await trio.sleep(5)
        assert found.a.state == "fenced"
        await found.order(found.a, "rejoin")
        await found.until(found.a, "owner")


async def test_a_state_that_cannot_be_written_was_never_decided(autojump_clock):
    """A full disk refuses the order; the owner goes on in a new epoch once there is space."""
    async with pair() as found:
        before = found.b.replica.machine.kept
        found.b.disk.faults.fail("write", path=STATE_PATH, number=errno.ENOSPC)
        with pytest.raises(Refused, match="no space"):
            await found.order(found.b, "promote")
        assert found.b.replica.machine.state == before
        assert found.a.state == "owner"


async def test_a_damaged_state_file_stops_the_start():
    """What a store may own is never guessed."""
    node = Node(Cluster(), "a:1", "", [], 1, "master", "sync")
    await node.disk.replace(STATE_PATH, b"damaged")
    with pytest.raises(StoreCorrupt, match=STATE_PATH):
        load_state(node.disk)


async def test_a_witness_that_lost_its_file_learns_again(autojump_clock):
    """It is silent for a lease, then knows what the others know; the pair does not notice."""
    async with pair() as found:
        witness = found.witnesses[0]
        witness.scope.cancel()
        witness.disk.unlink("witness.cbor")
        witness.section = type(witness.section)(others=witness.section.others)
        witness.start()
        witness.scope = trio.CancelScope()
        found.nursery.start_soon(witness.run)
        await trio.sleep(5)
        assert witness.service.witness.forgot
        await trio.sleep(5)
        assert witness.service.witness.owner("broker-a") == found.a.replica.store_id
        found.a.append()
