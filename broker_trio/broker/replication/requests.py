"""What a replica answers about its pair, and what commands order it to do.

    26001 confirm   a member's yes to exactly the epoch that it settled and promised
    26002 record    rule 1, then on disk, then the answer
    26003 status    everything durable, and how it stands
    26004 order     one step of a command: a record to make, a pause, a fence

An order makes no decision: the machine's rules hold whatever is ordered. Each order and its end is
a line in the log (`pair.order`), so that the audit does not depend on who typed the command.
"""

from typing import Any, Final, final

import structlog
import trio

from broker_trio.broker.replication.machine import Want, Wish, refuse
from broker_trio.broker.replication.replica import Log, Replica
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.remoting.dispatch import Later, Request, Response, Route
from broker_trio.runtime.seams import Clock
from broker_trio.wire.bodies import pair as bodies

log = structlog.get_logger()

CATCH_UP_S: Final = 10.0  # how long a handover waits for the paused master's last bytes
WANTS: Final[dict[str, Want]] = {
    "promote": "promote",
    "degrade": "degrade",
    "restore": "restore",
    "handover": "handover",
    "force": "force",
}


@final
class PairRequests:
    """The four requests of a broker in a pair."""

    def __init__(self, replica: Replica, clock: Clock, commit_log: Log) -> None:
        self._replica, self._clock, self._log = replica, clock, commit_log
        self._name = replica.settings.broker_name

    def routes(self) -> tuple[Route[Any], ...]:
        """Ours only."""
        note = "ours: who owns a pair"
        return (
            Route(RequestCode.PAIR_CONFIRM, None, self.confirm, note=note, processor="pair"),
            Route(RequestCode.PAIR_RECORD, None, self.record, note=note, processor="pair"),
            Route(RequestCode.PAIR_STATUS, None, self.status, note=note, processor="pair"),
            Route(RequestCode.PAIR_ORDER, None, self.order, note=note, processor="pair"),
        )

    def confirm(self, request: Request, _header: object) -> Response:
        """26001, rule 4: as the other member."""
        asked = bodies.decode(request.command.body, bodies.Question)
        self._check_name(asked.broker_name)
        machine = self._replica.machine
        return self._verdict(yes=machine.confirms(asked.epoch))

    def record(self, request: Request, _header: object) -> Later:
        """26002, rules 1 and 2."""
        told = bodies.decode(request.command.body, bodies.Telling)
        self._check_name(told.broker_name)

        async def later() -> Response:
            why = await self._replica.take_told(told.record)
            return self._verdict(yes=not why, why=why)

        return later

    def _verdict(self, *, yes: bool, why: str = "") -> Response:
        replica = self._replica
        verdict = bodies.Verdict(
            yes=yes, why=why, record=replica.known_record, store_id=replica.store_id
        )
        return Response(body=bodies.encode(verdict))

    def status(self, request: Request, _header: object) -> Response:
        """26003."""
        asked = bodies.decode(request.command.body, bodies.Naming)
        self._check_name(asked.broker_name or self._name)
        return Response(body=bodies.encode(self._replica.status()))

    def order(self, request: Request, _header: object) -> Later:
        """26004: answered with the status after it, or refused with the reason."""
        order = bodies.decode(request.command.body, bodies.Order)
        self._check_name(order.broker_name)
        peer = request.session.peer_address

        async def later() -> Response:
            risk = "" if order.risk is None else f"{order.risk.operator}: {order.risk.reason}"
            log.warning("pair.order", verb=order.verb, peer=peer, above=order.above, risk=risk)
            try:
                await self._obey(order)
            except Refused as refusal:
                log.warning("pair.order_refused", verb=order.verb, reason=refusal.remark)
                raise
            status = self._replica.status()
            log.warning("pair.ordered", verb=order.verb, state=status.state)
            return Response(body=bodies.encode(status))

        return later

    async def _obey(self, order: bodies.Order) -> None:
        replica, machine = self._replica, self._replica.machine
        match order.verb:
            case "pause":
                machine.pause(self._clock.monotonic())
            case "resume":
                machine.resume()
            case "fence" | "rejoin":
                machine.fence(fenced=order.verb == "fence")
                await replica.save()
            case _:
                if order.verb == "handover":
                    await self._catch_up(order.end)
                await replica.propose(self._wish(order))
                if order.unleased:
                    machine.write_without_lease()
                    log.error("pair.no_lease", operator=order.risk and order.risk.operator)
                    replica.wake()

    def _wish(self, order: bodies.Order) -> Wish:
        return Wish(
            WANTS[order.verb],
            above=order.above,
            follower=order.follower or self._replica.candidate,
            min=self._replica.settings.copies,
            risk=order.risk,
        )

    async def _catch_up(self, end: int) -> None:
        """Switchover, step 1: have all that the paused master has, on disk."""
        proposed = self._replica.machine.state.proposed
        if proposed is not None and proposed.handover:
            return
        with trio.move_on_after(CATCH_UP_S):
            await self._replica.reached(end)
        if self._log.flushed_offset != end or self._log.max_offset != end:
            raise refuse(
                f"its log ends at {self._log.max_offset} (on disk {self._log.flushed_offset}), "
                f"the master's at {end}"
            )

    def _check_name(self, name: str) -> None:
        if name != self._name:
            text = f"this broker is {self._name}, not {name}"
            raise Refused(ResponseCode.INVALID_PARAMETER, text)
