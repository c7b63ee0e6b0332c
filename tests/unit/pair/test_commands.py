"""Commands over real replicas: what guards say, what an instruction names, what reruns do."""

import msgspec
import pytest
import trio

from broker_trio.broker.replication import commands
from broker_trio.broker.replication.commands import Plan
from broker_trio.broker.replication.instruction import instruction
from broker_trio.broker.replication.view import View
from broker_trio.model.pair import Risk, Status
from broker_trio.wire.bodies import pair as bodies

from .cluster import NAME, Node, Pair, pair, wait_for


async def seen(found: Pair) -> View:
    """What the command line would see: who is down is silent."""
    down = found.cluster.down
    nodes = [node for node in (found.a, found.b) if node.address not in down]
    answering = [witness for witness in found.witnesses if witness.address not in down]
    witnesses = {
        w.address: Status(
            broker_name=NAME,
            witness=True,
            forgot=w.service.witness.forgot,
            record=w.service.witness.record(NAME),
        )
        for w in answering
    }
    replicas = {node.address: node.replica.status() for node in nodes}
    return View(NAME, replicas, witnesses, dict.fromkeys(down, "refused"), len(found.witnesses))


def of(view: View, node: Node) -> Status:
    return view.replicas[node.address]


async def carry_out(found: Pair, plan: Plan) -> None:
    """Every step, as the command line does it."""
    assert not plan.refused
    status = None
    for step in plan.steps:
        order = step.order
        if order.verb == "handover":
            order = msgspec.structs.replace(order, end=status.log_end)
        node = found.a if step.address == found.a.address else found.b
        fields = {f: getattr(order, f) for f in order.__struct_fields__}
        del fields["broker_name"]
        status = await found.order(node, **fields)
        if step.then:
            await found.until(node, step.then)
        if step.members:
            await wait_for(lambda n=node, s=step: len(n.replica.members) == s.members)


def refused(plan: Plan) -> list[str]:
    assert plan.steps == []
    return [guard.name for guard in plan.guards if not guard.ok]


async def test_a_healthy_pair_needs_nothing(autojump_clock):
    """Its instruction is ok, and a promotion of the slave is refused with the better command."""
    async with pair() as found:
        view = await seen(found)
        assert instruction(view).verb == "ok"
        plan = commands.plan_promote(view, of(view, found.b))
        assert refused(plan) == ["the master is gone"]
        assert plan.next == "broker-trio switchover broker-a/1 broker-a/2"
        assert commands.plan_promote(view, of(view, found.a)).already


async def test_a_dead_master_is_replaced_and_comes_back(autojump_clock):
    """promote --one-copy: owner, then alone, then two copies again when the old one is back."""
    async with pair() as found:
        found.a.append()
        await trio.sleep(0.2)
        found.a.kill()
        view = await seen(found)
        told = instruction(view)
        assert (told.verb, told.command) == ("promote", "broker-trio promote broker-a/2")
        plan = commands.plan_promote(view, of(view, found.b), one_copy=True)
        assert [step.order.verb for step in plan.steps] == ["promote", "degrade"]
        assert plan.loss == "nothing that was acknowledged with two copies"
        await carry_out(found, plan)
        assert found.b.replica.may_answer_alone(trio.current_time())
        view = await seen(found)
        assert instruction(view).verb == "restore"
        assert commands.plan_promote(view, of(view, found.b), one_copy=True).already
        found.a.start(found.nursery)
        await wait_for(lambda: found.a.state == "slave" and len(found.b.replica.members) == 2)
        assert instruction(await seen(found)).verb == "ok"


async def test_a_dead_slave_is_named_with_its_command(autojump_clock):
    """The master answers 11: degrade it; after that the slave may not be promoted."""
    async with pair() as found:
        found.streaming = False
        found.b.kill()
        found.a.replica.left(0.0, found.b.replica.store_id)
        view = await seen(found)
        assert instruction(view).command == "broker-trio degrade broker-a/1"
        await carry_out(found, commands.plan_degrade(view, of(view, found.a)))
        assert commands.plan_degrade(await seen(found), found.a.replica.status()).already
        found.a.append()
        found.a.kill()
        found.b.start(found.nursery)
        await trio.sleep(1)
        view = await seen(found)
        plan = commands.plan_promote(view, of(view, found.b))
        assert refused(plan) == ["nothing acknowledged is missing"]
        told = instruction(view)
        assert (told.verb, "bring back" in told.text) == ("wait", True)
        risk = Risk("me", "a burnt", 0)
        await carry_out(found, commands.plan_force(view, of(view, found.b), risk))
        assert found.b.state == "owner"


async def test_too_few_nameservers_refuse_what_one_copy_needs(autojump_clock):
    """promote and degrade need a majority; --fenced is for exactly this, and only then."""
    async with pair() as found:
        risk = Risk("me", "a is off", 0)
        view = await seen(found)
        force = commands.plan_force(view, of(view, found.b), risk, fenced_host="a")
        assert refused(force) == ["no majority can be had"]
        found.a.kill()
        found.cluster.down |= {"ns0:9876", "ns1:9876"}
        view = await seen(found)
        plan = commands.plan_promote(view, of(view, found.b))
        assert refused(plan) == ["a majority of the nameservers"]
        assert "--fenced HOST" in plan.next
        assert instruction(view).verb == "wait"
        forced = commands.plan_force(view, of(view, found.b), risk, fenced_host="a")
        assert "split brain" in forced.notes[-1]
        await carry_out(found, forced)
        found.b.append()


async def test_switchover_and_back(autojump_clock):
    """Both ways, by plan; a repeat has nothing to do."""
    async with pair() as found:
        for source, target in ((found.a, found.b), (found.b, found.a)):
            await wait_for(lambda source=source: source.replica.status().level)
            view = await seen(found)
            plan = commands.plan_switchover(view, of(view, source), of(view, target))
            await carry_out(found, plan)
            await wait_for(lambda source=source: source.state == "slave")
            view = await seen(found)
            again = commands.plan_switchover(view, of(view, source), of(view, target))
            assert again.already


@pytest.mark.parametrize("cut_after", ["order", "persist"])
async def test_an_interrupted_promote_is_finished_by_running_it_again(autojump_clock, cut_after):
    """Whatever was reached, the same command ends it; the instruction says so in between."""
    async with pair() as found:
        found.a.kill()
        view = await seen(found)
        plan = commands.plan_promote(view, of(view, found.b))
        found.cluster.cut |= {("b:10911", f"ns{n}:9876") for n in range(3)}
        await found.order(found.b, "promote", above=view.above)
        if cut_after == "persist":
            found.b.kill()
            found.b.start(found.nursery)
        await trio.sleep(3)
        found.cluster.cut.clear()
        if cut_after == "persist":
            view = await seen(found)
            told = instruction(view)
            assert (told.verb, told.command) == ("finish", "broker-trio promote broker-a/2")
            plan = commands.plan_promote(view, of(view, found.b))
            await carry_out(found, plan)
        await found.until(found.b, "owner")


async def test_a_promise_left_behind_is_lifted_over(autojump_clock):
    """B promised and got nowhere: A owns still, and a record of A above it takes B back."""
    async with pair() as found:
        far = [f"ns{n}:9876" for n in range(3)] + ["a:10911"]
        found.cluster.cut |= {("b:10911", one) for one in far}
        await found.order(found.b, "promote")
        await trio.sleep(2)
        found.b.kill()
        found.cluster.cut.clear()
        found.b.start(found.nursery)
        await trio.sleep(2)
        view = await seen(found)
        told = instruction(view)
        assert (told.verb, told.command) == ("finish", "broker-trio promote broker-a/1")
        await carry_out(found, commands.plan_promote(view, of(view, found.a)))
        await found.until(found.b, "slave")
        assert instruction(await seen(found)).verb == "ok"


async def test_nameservers_that_forgot_are_named(autojump_clock):
    """Two of three without a file cannot learn again by themselves: adopt."""
    async with pair() as found:
        found.streaming = False
        found.cluster.cut |= {("a:10911", "b:10911"), ("b:10911", "a:10911")}
        for witness in found.witnesses[:2]:
            witness.service.witness.state = witness.service.witness.kept = None
        await trio.sleep(8)
        told = instruction(await seen(found))
        assert (told.verb, told.command) == ("adopt", "broker-trio pair adopt")
        found.a.kill()
        assert instruction(await seen(found)).verb == "adopt"


def test_orders_cross_the_wire_whole():
    """An order comes out as it went in."""
    order = bodies.Order(
        broker_name=NAME, verb="force", above=7, risk=Risk("me", "why", 5), unleased=True
    )
    assert bodies.decode(bodies.encode(order), bodies.Order) == order
