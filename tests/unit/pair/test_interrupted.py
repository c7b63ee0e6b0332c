"""Every pair command, killed at each of its steps, and run again: it ends where it should.

    before   the step's order never left              order   it left, nobody heard the answer
    after    the step was in force, the next one never came

In between and afterwards two replicas never may write at once, and nothing is half done.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import msgspec
import pytest
import trio

from broker_trio.broker.replication import commands
from broker_trio.broker.replication.commands import Plan
from broker_trio.broker.replication.view import View
from broker_trio.model.errors import Refused
from broker_trio.model.pair import Risk, Status

from .cluster import Node, Pair, pair, wait_for
from .test_commands import carry_out, of, seen

RISK = Risk("ops", "the old disk is gone", 1)
RERUNS_MAX = 6


class Case(NamedTuple):
    """One command: what came before, its plan, its steps, and what it must have reached."""

    name: str
    prepare: Callable[[Pair], Awaitable[None]]
    plan: Callable[[Pair, View], Plan]
    steps: int
    reached: Callable[[Pair], bool]


async def nothing(_found: Pair) -> None:
    """A healthy pair."""


async def master_gone(found: Pair) -> None:
    found.a.append()
    await trio.sleep(0.2)
    found.a.kill()


async def all_gone(found: Pair) -> None:
    """The master's host, and two of three nameservers."""
    await master_gone(found)
    found.cluster.down |= {"ns0:9876", "ns1:9876"}


async def slave_gone(found: Pair) -> None:
    found.b.kill()


async def slave_back(found: Pair) -> None:
    """After `degrade`, before the pair restores itself."""
    found.b.kill()
    await carry_out(found, commands.plan_degrade(view := await seen(found), of(view, found.a)))
    found.b.start(found.nursery)
    await wait_for(lambda: bool(found.a.replica.status().level))


async def fenced(found: Pair) -> None:
    await found.order(found.b, "fence")


def owns(found: Pair, name: str, members: int) -> bool:
    node = found.a if name == "a" else found.b
    return node.state == "owner" and len(node.replica.members) == members


CASES = (
    Case("promote", master_gone,
         lambda found, view: commands.plan_promote(view, of(view, found.b), one_copy=True),
         2, lambda found: owns(found, "b", 1)),
    Case("accept-loss", master_gone,
         lambda found, view: commands.plan_force(view, of(view, found.b), RISK),
         1, lambda found: owns(found, "b", 1)),
    Case("fenced-host", all_gone,
         lambda found, view: commands.plan_force(view, of(view, found.b), RISK, fenced_host="a"),
         1, lambda found: owns(found, "b", 1)),
    Case("degrade", slave_gone,
         lambda found, view: commands.plan_degrade(view, of(view, found.a)),
         1, lambda found: owns(found, "a", 1)),
    Case("restore", slave_back,
         lambda found, view: commands.plan_restore(view, of(view, found.a)),
         1, lambda found: owns(found, "a", 2)),
    Case("switchover", nothing,
         lambda found, view: commands.plan_switchover(view, of(view, found.a), of(view, found.b)),
         2, lambda found: owns(found, "b", 2)),
    Case("fence", nothing,
         lambda found, view: commands.plan_fence(view, of(view, found.b), fenced=True),
         1, lambda found: found.b.state == "fenced"),
    Case("rejoin", fenced,
         lambda found, view: commands.plan_fence(view, of(view, found.b), fenced=False),
         1, lambda found: found.b.state == "slave"),
)  # fmt: skip
KILLS = [
    pytest.param(case, step, when, pause_s, id=f"{case.name}-{step}-{when}-{pause_s:g}s")
    for case in CASES
    for step, when, pause_s in product(range(case.steps), ("before", "order", "after"), (0.0, 12.0))
]


async def killed(found: Pair, plan: Plan, at: int, when: str) -> None:
    """The command up to that moment."""
    assert not plan.refused
    status: Status | None = None
    for number, step in enumerate(plan.steps):
        if number == at and when == "before":
            return
        order = step.order
        if order.verb == "handover":
            assert status is not None
            order = msgspec.structs.replace(order, end=status.log_end)
        node = found.a if step.address == found.a.address else found.b
        fields = {name: getattr(order, name) for name in order.__struct_fields__}
        del fields["broker_name"]
        if number == at and when == "order":
            found.nursery.start_soon(_left, found, node, fields)
            await trio.sleep(0.0015)  # it has arrived, and nobody will hear of it
            return
        status = await found.order(node, **fields)
        if step.then:
            await found.until(node, step.then)
        if step.members:
            members = partial(_members, node)
            await wait_for(lambda count=step.members, members=members: members() == count)
        if number == at:
            return


def _members(node: Node) -> int:
    return len(node.replica.members)


async def _left(found: Pair, node: Node, fields: dict[str, Any]) -> None:
    try:
        await found.order(node, **fields)
    except Refused:
        return


async def one_writer(found: Pair) -> None:
    """All the time."""
    while True:
        now, down = trio.current_time(), found.cluster.down
        writers = [
            node.address
            for node in (found.a, found.b)
            if node.address not in down and node.replica.may_write(now) is None
        ]
        assert len(writers) <= 1, writers
        await trio.sleep(0.05)


@pytest.mark.parametrize(("case", "step", "when", "pause_s"), KILLS)
async def test_a_killed_command_is_ended_by_running_it_again(
    autojump_clock: trio.abc.Clock, case: Case, step: int, when: str, pause_s: float
) -> None:
    """At most a few times, for what a guard refuses it ends or ends by itself within seconds."""
    async with pair() as found:
        found.nursery.start_soon(one_writer, found)
        await case.prepare(found)
        await killed(found, case.plan(found, await seen(found)), step, when)
        await trio.sleep(pause_s)
        for _ in range(RERUNS_MAX):
            plan = case.plan(found, await seen(found))
            if plan.already or case.reached(found):
                break
            if plan.refused:
                await trio.sleep(4)
                continue
            try:
                await carry_out(found, plan)
            except Refused:
                await trio.sleep(4)
        await wait_for(lambda: case.reached(found), 20)
        await trio.sleep(5)
        assert case.reached(found), "and it stays so"
