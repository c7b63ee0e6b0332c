"""The answer to a send in a pair: when it leaves, and what it says of the copies.

The reply is put together at the moment of truth, not when the message came: the record may have
changed meanwhile, and with it what "OK" is worth. Each reply has the counter of its epoch: who read
two of them knows which came later.
"""

from typing import Final, final

from broker_trio.broker.properties import Scanned
from broker_trio.broker.replication.acks import REMARKS, Acks, Outcome
from broker_trio.broker.replication.role import Role
from broker_trio.broker.stats import Receipts
from broker_trio.model.codes import ResponseCode
from broker_trio.remoting.dispatch import PARKED, Burst, Parked, Request, Response
from broker_trio.store.entry import Appended
from broker_trio.store.store import Store
from broker_trio.wire.run_replies import RunReplies
from broker_trio.wire.send_reply import SendReply, SendSuffix

DURABILITIES: Final = ("memory", "disk", "replicated", "replicated_disk")


@final
class PairReceipts:
    """Answers sends of one broker in a pair."""

    def __init__(
        self, acks: Acks, role: Role, store: Store, receipts: Receipts, region: str, trace: str
    ) -> None:
        self._acks, self._role, self._store, self._receipts = acks, role, store, receipts
        self._region, self._trace = region, trace
        self._suffixes: dict[str, SendSuffix] = {}
        role.on_change.append(self._role_changed)
        self._role_changed()

    def _role_changed(self) -> None:
        epoch = str(self._role.epoch.counter)
        self._suffixes = {
            durability: SendSuffix(self._region, self._trace, durability, epoch)
            for durability in DURABILITIES
        }

    def answer(
        self, request: Request, queue_id: int, appended: Appended, message_id: str, scanned: Scanned
    ) -> Response | Parked:
        """The answer at once for WAIT=false, else when the copies are there."""

        def reply(durability: str) -> SendReply:
            suffix, offset = self._suffixes[durability], appended.queue_offset
            return SendReply(suffix, message_id, queue_id, offset, scanned.uniq_key)

        if not scanned.wait:
            self._receipts.memory += 1
            return Response(frame=reply("memory"))
        request.command.body = b""  # it is in the log: do not hold it while others copy it
        end = appended.next_physical_offset

        def done(outcome: Outcome) -> None:
            if outcome is Outcome.OK:
                durability = self._acks.durability
                self._receipts.add(durability)
                request.answer(Response(frame=reply(durability)))
                return
            on_disk = self._store.is_sync and self._store.own_end >= end
            self._receipts.fail(outcome)
            ext = reply("disk" if on_disk else "memory").ext()
            request.answer(Response(ResponseCode(outcome), REMARKS[outcome], ext))

        self._acks.wait(end, done)
        return PARKED

    @property
    def room(self) -> int:
        """How many more sends may wait."""
        return self._acks.room

    def answer_run(self, burst: Burst, replies: RunReplies) -> None:
        """As `answer` for each message of a burst, all of which wait for copies."""

        def done(outcome: Outcome, count: int) -> None:
            if outcome is Outcome.OK:
                durability = self._acks.durability
                self._receipts.add(durability, count)
                burst.answer(
                    ResponseCode.SUCCESS, replies.stored(self._suffixes[durability], count)
                )
                return
            self._receipts.fail(outcome, count)
            on_disk = replies.ended_by(self._store.own_end) if self._store.is_sync else 0
            on_disk = min(on_disk, count)
            answers: list[bytes] = []
            for durability, part in (("disk", on_disk), ("memory", count - on_disk)):
                suffix = self._suffixes[durability]
                answers += replies.doubted(suffix, part, outcome, REMARKS[outcome])
            burst.answer(ResponseCode(outcome), answers)

        self._acks.wait_run(replies.end, replies.size, burst.frames, done)
