"""Keeping the locks of an ordered consumer: renewed every 20 s, given up when they cannot be.

    every 20 s   one question a broker ──▶ granted: trusted again │ not in the answer: lost
    every second a lock whose last question is 30 s old: lost

`lost` tells the subscription, which stops to hand out messages of the queue and asks for it anew.
"""

from collections.abc import Callable
from typing import Final, final

import anyio

from broker_trio.client.locks import RENEW_S, TRUST_S
from broker_trio.client.membership import TROUBLE, Membership
from broker_trio.model.route import MessageQueue

LOOK_S: Final = 1.0
Lost = Callable[[MessageQueue, str], None]


@final
class LockKeeper:
    """Both loops; they end when they are cancelled."""

    def __init__(self, member: Membership, lost: Lost) -> None:
        self._member, self._lost = member, lost

    async def keep(self) -> None:
        """Renew what is held."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look)
            while True:
                await anyio.sleep(RENEW_S)
                await self._renew_all()

    async def _look(self) -> None:
        while True:
            await anyio.sleep(LOOK_S)
            for queue in self._member.locks.expired(anyio.current_time()):
                self._lost(queue, f"not renewed for {TRUST_S:g} s")

    async def _renew_all(self) -> None:
        async with anyio.create_task_group() as tasks:
            for broker_name, queues in self._member.locks.by_broker().items():
                tasks.start_soon(self._renew, broker_name, queues)

    async def _renew(self, broker_name: str, queues: list[MessageQueue]) -> None:
        """Until it was answered, or the time of all of them is over."""
        member = self._member
        while any(member.locks.holds(queue, anyio.current_time()) for queue in queues):
            asked = anyio.current_time()
            try:
                address = await member.session.broker_address(broker_name)
                granted = await member.calls.lock(address, queues)
            except TROUBLE:
                await anyio.sleep(LOOK_S)
                continue
            member.locks.renewed([queue for queue in queues if queue in granted], asked)
            for queue in member.locks.denied([queue for queue in queues if queue not in granted]):
                self._lost(queue, "another member has it now")
            return

    async def unlock(self, queues: list[MessageQueue]) -> None:
        """Give locks back; a broker that does not answer lets them run out."""
        brokers: dict[str, list[MessageQueue]] = {}
        for queue in queues:
            self._member.locks.forget(queue)
            brokers.setdefault(queue.broker_name, []).append(queue)
        async with anyio.create_task_group() as tasks:
            for broker_name, theirs in brokers.items():
                tasks.start_soon(self._unlock, broker_name, theirs)

    async def _unlock(self, broker_name: str, queues: list[MessageQueue]) -> None:
        try:
            address = await self._member.session.broker_address(broker_name)
            await self._member.calls.unlock(address, queues)
        except TROUBLE:
            return  # they run out after 60 s by themselves
