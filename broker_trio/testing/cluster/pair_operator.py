"""Whoever runs a pair, on a machine of their own: one that reads, and one that does not.

    careful    STATUS of everybody ─▶ instruction ─▶ plan with its guards ─▶ orders, watched
    careless   any order to any replica at any moment, without a look: the wrong one, twice, both

Both give the orders that the command line gives, over the network, from the decisions in
broker/replication/ that it prints. What an order answers is not trusted: the next look tells.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar, final

import msgspec
import trio

from broker_trio.broker.replication.commands import (
    Plan,
    Step,
    plan_degrade,
    plan_force,
    plan_promote,
    plan_restore,
    plan_switchover,
)
from broker_trio.broker.replication.instruction import Instruction, instruction
from broker_trio.broker.replication.view import LEADING, View
from broker_trio.model.codes import RequestCode
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.pair import Risk, Status
from broker_trio.remoting.bridge import through
from broker_trio.remoting.client import RemotingClient, Unreachable
from broker_trio.testing.cluster.cluster import BROKER_PORT, NAMESERVER_PORT
from broker_trio.testing.cluster.pair import NAME, Pair
from broker_trio.wire.bodies import pair as bodies
from broker_trio.wire.command import Command, Serialize

HOST: Final = "operator"
ASK_S: Final = 2.0
ORDER_S: Final = 15.0
POLL_S: Final = 0.2  # each time on a connection of its own
RISK: Final = Risk("simulated", "nobody else is left", 1)

T = TypeVar("T", bound=msgspec.Struct)


@final
class Operator:
    """`forced`: how often a loss was accepted. `told`: the instructions that were followed."""

    def __init__(self, pair: Pair, *, may_force: bool = False) -> None:
        self.pair, self.may_force = pair, may_force
        self.forced = 0
        self.told: list[str] = []
        pair.world.network.host(HOST)

    # ---- asking

    async def look(self) -> View:
        """What everybody says now. Who gives no status within two seconds is silent."""
        pair = self.pair
        replicas, witnesses = dict[str, Status](), dict[str, Status]()
        silent: dict[str, str] = {}
        naming = bodies.Naming(broker_name=NAME)

        async def ask(address: str, found: dict[str, Status]) -> None:
            status = await self._ask(address, RequestCode.PAIR_STATUS, naming, ASK_S)
            if isinstance(status, Status):
                found[address] = status
            else:
                silent[address] = status

        async with trio.open_nursery() as nursery:
            for name in pair.broker_names:
                nursery.start_soon(ask, f"{name}:{BROKER_PORT}", replicas)
            for name in pair.nameserver_names:
                nursery.start_soon(ask, f"{name}:{NAMESERVER_PORT}", witnesses)
        known = {f"{n}:{BROKER_PORT}": None for n in pair.broker_names} | dict.fromkeys(witnesses)
        return View(
            NAME,
            {address: replicas[address] for address in known if address in replicas},
            {a: witnesses[a] for a in sorted(witnesses)},
            {a: silent[a] for a in sorted(silent) if a.endswith(str(BROKER_PORT))},
            len(pair.nameserver_names),
        )

    async def _ask(
        self, address: str, code: RequestCode, asked: msgspec.Struct, within_s: float
    ) -> Status | str:
        command = Command(code, body=bodies.encode(asked), serialize=Serialize.CBOR)
        network = self.pair.world.network.host(HOST)
        with trio.move_on_after(within_s):
            async with RemotingClient(through(network)) as client:
                try:
                    answer = await client.call(address, command)
                except (Unreachable, RemoteProtocolError) as error:
                    return str(error)
                remark = answer.remark or f"code {answer.code}"
                return remark if answer.code else bodies.decode(answer.body, Status)
        return f"no answer within {within_s:g} s"

    # ---- careless

    async def order(self, name: str, verb: bodies.Verb, **members: Any) -> Status | str:
        """One order to one host, come what may."""
        order = bodies.Order(broker_name=NAME, verb=verb, **members)
        return await self._order(f"{name}:{BROKER_PORT}", order)

    async def _order(self, address: str, order: bodies.Order) -> Status | str:
        self.pair.world.log("order", address, order.verb)
        answer = await self._ask(address, RequestCode.PAIR_ORDER, order, ORDER_S)
        self.pair.world.log("ordered", address, order.verb, isinstance(answer, Status))
        return answer

    async def switch(self, source: str, target: str, *, give_up: bool = False) -> None:
        """A switchover without its guards; `give_up`: interrupted after its first step."""
        paused = await self.order(source, "pause")
        if isinstance(paused, Status) and not give_up:
            await self.order(target, "handover", end=paused.log_end)

    # ---- careful

    async def follow(self) -> Instruction:
        """Do what `pair status` says, once."""
        view = await self.look()
        told = instruction(view)
        self.told.append(told.verb)
        self.pair.world.log("instruction", told.verb, told.command)
        words = told.command.split()
        if "--accept-loss" in words:
            if self.may_force:
                await self.force(words[2])
        elif told.verb in {"promote", "finish", "degrade"} or words[1:2] == ["restore"]:
            await self._run(view, words[1], words[2])
        return told

    async def _run(self, view: View, verb: str, label: str) -> None:
        target = self._find(view, label)
        plans: dict[str, Callable[[View, Status], Plan]] = {
            "promote": plan_promote,
            "degrade": plan_degrade,
            "restore": plan_restore,
        }
        await self.carry_out(view, plans[verb](view, target))

    def _find(self, view: View, label: str) -> Status:
        number = int(label.rpartition("/")[2])
        return next(one for one in view.replicas.values() if one.replica_id == number)

    async def promote(self, name: str) -> Plan:
        """`promote NAME --one-copy`, with all guards."""
        return await self._planned(
            name, lambda view, target: plan_promote(view, target, one_copy=True)
        )

    async def switchover(self, source: str) -> Plan:
        """`switchover SOURCE TARGET`, with all guards."""

        def plan(view: View, target: Status) -> Plan:
            address = f"{source}:{BROKER_PORT}"
            return plan_switchover(view, view.replicas.get(address, target), target)

        return await self._planned(self.pair.other(source), plan)

    async def force(self, label: str) -> Plan:
        """`promote LABEL --accept-loss`."""
        view = await self.look()
        plan = plan_force(view, self._find(view, label), RISK)
        if plan.steps:
            self.forced += 1
            self.pair.world.log("accept-loss", label)
        await self.carry_out(view, plan)
        return plan

    async def _planned(self, name: str, build: Callable[[View, Status], Plan]) -> Plan:
        """Plan for the replica on a host, and carry out."""
        view = await self.look()
        target = view.replicas.get(f"{name}:{BROKER_PORT}")
        if target is None:
            return Plan(command="", broker_name=NAME, target=name, guards=[], steps=[])
        plan = build(view, target)
        await self.carry_out(view, plan)
        return plan

    async def carry_out(self, view: View, plan: Plan) -> bool:
        """Step by step, each watched until it is in force; whether all of it is."""
        status: Status | str = ""
        for step in plan.steps:
            order = step.order
            if order.verb == "handover" and isinstance(status, Status):
                order = msgspec.structs.replace(order, end=status.log_end)
            status = await self._order(self._address(view, step), order)
            if not isinstance(status, Status) or not await self._in_force(view, step):
                if order.verb == "handover":
                    await self._order(
                        self._address(view, plan.steps[0]),
                        bodies.Order(broker_name=NAME, verb="resume"),
                    )
                return False
        return True

    def _address(self, view: View, step: Step) -> str:
        """By host name: statuses tell what clients use."""
        for address, status in view.replicas.items():
            if step.address in {address, status.address}:
                return address
        return step.address

    async def _in_force(self, view: View, step: Step) -> bool:
        if not step.then and not step.members:
            return True
        naming = bodies.Naming(broker_name=NAME)
        with trio.move_on_after(ORDER_S):
            while True:
                address = self._address(view, step)
                now = await self._ask(address, RequestCode.PAIR_STATUS, naming, ASK_S)
                if isinstance(now, Status) and now.kept is not None:
                    well = not step.then or now.state in {step.then, *LEADING}
                    if well and step.members in {0, len(now.kept.settled.members)}:
                        return True
                await trio.sleep(POLL_S)
        return False
