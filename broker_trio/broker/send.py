"""SEND_MESSAGE, SEND_MESSAGE_V2, SEND_BATCH_MESSAGE: check, append, answer.

The checks run in the order of protocol.md §3.1.4. What depends on the topic alone is looked up once
and kept in a `Target`, so that a send to a known topic costs one dict look-up. A message whose
properties hold nothing that the broker acts on takes the plain way; `special.py` rewrites the rest
(delay, retry) or refuses it (timers, transactions).

The answer leaves at once under ASYNC_FLUSH (durability `memory`), and when its bytes are on disk
under SYNC_FLUSH (durability `disk`), unless the message says WAIT=false.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, final

import msgspec

from broker_trio.broker.config import BrokerConfig
from broker_trio.broker.properties import Scanned, Scanner, checked
from broker_trio.broker.replication.acks import REMARKS, Outcome
from broker_trio.broker.replication.receipts import PairReceipts
from broker_trio.broker.retry import Retry
from broker_trio.broker.schedule import Schedule
from broker_trio.broker.settings import Settings
from broker_trio.broker.stats import BrokerStats, TopicStats
from broker_trio.broker.topics import Topics
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.message import SysFlag
from broker_trio.model.names import NOT_SENDABLE, check_topic, is_dlq, is_retry
from broker_trio.model.topic import TopicConfig
from broker_trio.remoting.dispatch import PARKED, Burst, Parked, Request, Response, Route, Session
from broker_trio.runtime.seams import Entropy
from broker_trio.store.appender import AppendedRun, BatchItem, Run
from broker_trio.store.entry import Appended
from broker_trio.store.store import Draft, Store
from broker_trio.wire.batch import cut_batch, decode_batch
from broker_trio.wire.command import Command
from broker_trio.wire.headers.base import from_ext
from broker_trio.wire.headers.send import SendMessageRequestHeader, SendMessageV2RequestHeader
from broker_trio.wire.java import encode_host
from broker_trio.wire.properties import parse_properties
from broker_trio.wire.run_replies import RunReplies
from broker_trio.wire.send_reply import SendReply, SendSuffix

NOT_FLUSHED: Final = REMARKS[Outcome.NOT_FLUSHED]
BATCH_TOPIC_BYTES_MAX: Final = 127
KEPT_FLAGS: Final = 0x70F & ~0xC
"""Of a sender's sysFlag: compression, multi-tags. Host families are the broker's to say."""


@final
class Target:
    """What a send needs to know of its topic; dropped when the topic changes."""

    __slots__ = ("config", "is_retry", "needs_keys", "queue_id_max", "stats", "write_queues")

    def __init__(self, config: TopicConfig, stats: TopicStats) -> None:
        self.config, self.stats = config, stats
        self.write_queues = config.write_queue_nums
        self.queue_id_max = max(config.write_queue_nums, config.read_queue_nums)
        self.is_retry = is_retry(config.topic_name)
        self.needs_keys = config.attributes.get("cleanup.policy") == "COMPACTION"


class Plain(NamedTuple):
    """What is true of all messages of one form (`burst.py`): stored as sent, in `target`."""

    target: Target
    flag: int
    sys_flag: int  # as stored, but for the sender's host family
    before: bytes  # properties as stored, around the UNIQ_KEY
    after: bytes
    tags_code: int


@final
class Send:
    """The send codes of one broker."""

    def __init__(
        self,
        store: Store,
        topics: Topics,
        retry: Retry,
        schedule: Schedule,
        stats: BrokerStats,
        entropy: Entropy,
        config: BrokerConfig,
        store_host: bytes,
        settings: Settings,
    ) -> None:
        self._store, self._topics, self._retry, self._schedule = store, topics, retry, schedule
        self._stats, self._entropy, self._settings = stats, entropy, settings
        self._targets: dict[str, Target] = {}
        self.on_forget: list[Callable[[], None]] = []
        self._hosts: dict[int, tuple[bytes, int]] = {}
        self._sync = config.store.flush_disk_type == "SYNC_FLUSH"
        self._pair: PairReceipts | None = None
        self._body_max = config.store.message_size_max
        self.id_prefix = store_host.hex().upper()
        self._store_v6 = SysFlag.STOREHOST_V6 if len(store_host) == 20 else 0
        trace = "true" if config.trace_on else "false"
        self._memory_suffix = SendSuffix(config.region_id, trace, "memory")
        self._durable_suffix = SendSuffix(config.region_id, trace, "disk")
        self._scanner = Scanner(entropy, config.region_id, trace, config.cluster_name)
        topics.on_change.append(self._forget)

    def routes(self) -> tuple[Route[SendMessageRequestHeader], ...]:
        note = "transactional sends 16, timer properties 1, inner batches 13"
        kinds: dict[RequestCode, type[SendMessageRequestHeader]] = {
            RequestCode.SEND_MESSAGE: SendMessageRequestHeader,
            RequestCode.SEND_MESSAGE_V2: SendMessageV2RequestHeader,
            RequestCode.SEND_BATCH_MESSAGE: SendMessageV2RequestHeader,
        }
        return tuple(
            Route(code, kind, self._handle, support="partial", note=note, processor="send")
            for code, kind in kinds.items()
        )

    def join_pair(self, pair: PairReceipts) -> None:
        """From now on answers wait for copies."""
        self._pair = pair

    def session_closed(self, session: Session) -> None:
        """Forget the peer's encoded address."""
        self._hosts.pop(session.id, None)

    def _forget(self, changed: list[TopicConfig]) -> None:
        for config in changed:
            self._targets.pop(config.topic_name, None)
        for forget in self.on_forget:
            forget()

    def _handle(self, request: Request, header: SendMessageRequestHeader) -> Response | Parked:
        body = request.command.body
        self._store.check_writable(min(len(body), self._body_max))  # a larger one is 13, not busy
        topic = header.topic
        target = self._targets.get(topic) or self._resolve(topic, header)
        queue_id = header.queue_id
        if queue_id >= target.queue_id_max:
            raise Refused(
                ResponseCode.INVALID_PARAMETER,
                f"queueId {queue_id} of topic {topic} is illegal, "
                f"it has {target.queue_id_max} queues",
            )
        if queue_id < 0:
            queue_id = self._entropy.randrange(max(1, target.write_queues))
        host = self.host_of(request.session)
        draft = Draft(
            topic,
            queue_id,
            body,
            b"",
            header.flag,
            header.sys_flag & KEPT_FLAGS | self._store_v6 | host[1],
            header.born_timestamp,
            host[0],
            0,
            reconsume_times=header.reconsume_times or 0,
        )
        if header.sys_flag & SysFlag.TRANSACTION_MASK:
            raise Refused(ResponseCode.NO_PERMISSION, "this broker takes no transactional messages")
        if header.batch:
            return self._send_batch(request, target, draft)
        return self._send_one(request, target, draft, header)

    def _resolve(self, topic: str, header: SendMessageRequestHeader) -> Target:
        """Checks 2 to 5 for a topic that was not seen since its last change."""
        try:
            check_topic(topic)
        except ValueError as error:
            raise Refused(ResponseCode.INVALID_PARAMETER, str(error)) from error
        if topic in NOT_SENDABLE:
            raise Refused(
                ResponseCode.NO_PERMISSION, f"Sending message to topic[{topic}] is forbidden."
            )
        config = self._topics.get(topic)
        if config is None and is_retry(topic):
            config = self._retry.topic_for_send(topic)
        elif config is None:
            queues = header.default_topic_queue_nums
            config = self._topics.create_for_send(topic, header.default_topic, queues)
        if config.order and not self._settings.writable:
            raise Refused(
                ResponseCode.NO_PERMISSION, "this broker is not writable (brokerPermission)"
            )
        target = Target(config, self._stats.topic(topic))
        if not config.order:
            self._targets[topic] = target
        return target

    def host_of(self, session: Session) -> tuple[bytes, int]:
        """The peer's address as stored, and its bit of sysFlag."""
        return self._hosts.get(session.id) or self._remember(session)

    def _remember(self, session: Session) -> tuple[bytes, int]:
        host = encode_host(session.peer_address)
        pair = self._hosts[session.id] = (host, SysFlag.BORNHOST_V6 if len(host) == 20 else 0)
        return pair

    # -- bursts -----------------------------------------------------------------------------------

    def plain_of(self, command: Command, before: bytes, after: bytes) -> Plain | None:
        """What all messages like this one have in common, if nothing about it is special.

        `before`, `after`: its properties around the UNIQ_KEY. None also for what would be refused.
        """
        try:
            header = from_ext(command.ext, SendMessageV2RequestHeader)
        except msgspec.ValidationError:
            return None
        target = self._targets.get(header.topic)
        raw = (header.properties or "").encode()
        scanned = self._scanner.scan(raw)
        known = self._scanner.plain_run((raw,))
        if (
            target is None  # the ordinary way finds out whether there is such a topic
            or target.is_retry
            or target.needs_keys
            or known is None
            or scanned.special
            or not scanned.wait
            or header.batch
            or header.reconsume_times
            or header.sys_flag & SysFlag.TRANSACTION_MASK
            or raw != before + scanned.uniq_key + after
            or len(command.body) > self._body_max
        ):
            return None
        stored_before, _, stored_after = scanned.stored.partition(scanned.uniq_key)
        sys_flag = header.sys_flag & KEPT_FLAGS | self._store_v6
        return Plain(target, header.flag, sys_flag, stored_before, stored_after, known[2])

    def append_plain(self, plain: Plain, run: Run) -> AppendedRun:
        """Store a burst. Raises `Refused`, and nothing changed then."""
        count = len(run.bodies)
        if self._pair is not None and self._pair.room < count:
            raise Refused(ResponseCode.SYSTEM_BUSY, "not all of them may wait")
        self._store.check_writable(len(run.bodies[0]))
        appended = self._store.append_run(run)
        self._count(plain.target, count, appended.size * count)
        return appended

    def answer_plain(self, burst: Burst, replies: RunReplies) -> None:
        """Answer a burst that was stored, at once or when `_answer` would answer each of them."""
        count, receipts = burst.frames, self._stats.receipts
        if self._pair is not None:
            self._pair.answer_run(burst, replies)
        elif not self._sync:
            receipts.memory += count
            burst.answer(ResponseCode.SUCCESS, replies.stored(self._memory_suffix, count))
        else:
            self._store.when_durable(
                replies.end, lambda durable: self._flushed_run(burst, replies, durable), count
            )

    def _flushed_run(self, burst: Burst, replies: RunReplies, durable: bool) -> None:
        """As `_flushed` for each of them."""
        count, receipts = burst.frames, self._stats.receipts
        if durable:
            receipts.disk += count
            burst.answer(ResponseCode.SUCCESS, replies.stored(self._durable_suffix, count))
        else:
            receipts.flush_timeouts += count
            code = ResponseCode.FLUSH_DISK_TIMEOUT
            answers = replies.doubted(self._memory_suffix, count, code, NOT_FLUSHED)
            burst.answer(code, answers)

    # -- one message ------------------------------------------------------------------------------

    def _send_one(
        self, request: Request, target: Target, draft: Draft, header: SendMessageRequestHeader
    ) -> Response | Parked:
        if not draft.body:  # clients would hand their users a null
            raise Refused(ResponseCode.MESSAGE_ILLEGAL, "the message has no body")
        scanned = self._scan(target, (header.properties or "").encode(), len(draft.body))
        draft.properties, draft.tags_code = scanned.stored, scanned.tags_code
        asked = draft.queue_id  # the answer names it even where the message waits elsewhere first
        if scanned.special or target.is_retry:
            draft = self._special(draft, scanned, header)
        appended = self._store.append(draft)
        self._count(target, 1, appended.size)
        if scanned.delay_level:
            target.stats.note_delayed(appended.size)
        message_id = f"{self.id_prefix}{appended.physical_offset:016X}"
        return self._answer(request, asked, appended, message_id, scanned)

    def _special(self, draft: Draft, scanned: Scanned, header: SendMessageRequestHeader) -> Draft:
        """A message that is stored as something else than what was sent."""
        if is_retry(draft.topic):
            draft = self._retry.redirect(
                draft, parse_properties(draft.properties), header.max_reconsume_times
            )
        level = scanned.delay_level if not is_dlq(draft.topic) else 0
        return self._schedule.to_schedule(draft, level) if level else draft

    def _scan(self, target: Target, raw: bytes, body_size: int) -> Scanned:
        """Checks 8 to 11, and the properties as they will be stored."""
        self._check_size(body_size)
        scanned = self._scanner.scan(raw)
        if scanned.refusal is not None:
            raise scanned.refusal
        checked(scanned.stored)
        if target.needs_keys and not scanned.has_keys:
            raise Refused(
                ResponseCode.MESSAGE_ILLEGAL, "a compaction topic needs KEYS on every message"
            )
        return scanned

    def _check_size(self, body_size: int) -> None:
        """Of one message, or of a batch as it came: RocketMQ has one limit for both."""
        if body_size > self._body_max:
            raise Refused(
                ResponseCode.MESSAGE_ILLEGAL,
                f"the body has {body_size} bytes, limit {self._body_max} (store.message_size_max)",
            )

    def _send_batch(self, request: Request, target: Target, draft: Draft) -> Response | Parked:
        """One append for all items: consecutive offsets in one queue, or none of them."""
        self._check_size(len(draft.body))
        if len(draft.topic) > BATCH_TOPIC_BYTES_MAX or target.is_retry:
            raise Refused(ResponseCode.MESSAGE_ILLEGAL, f"no batches to topic {draft.topic}")
        if target.config.attributes.get("queue.type") == "BatchCQ":
            raise Refused(ResponseCode.MESSAGE_ILLEGAL, "inner batches (BatchCQ) are not supported")
        plain = self._plain_batch(request, target, draft)
        if plain is not None:
            return plain
        items, wait = self._items(target, draft.body)
        appended = self._store.append_batch(draft, items)
        self._count(target, len(appended), sum([one.size for one in appended]))
        prefix = self.id_prefix
        ids = ",".join([f"{prefix}{one.physical_offset:016X}" for one in appended])
        first = appended[0]
        last = first._replace(next_physical_offset=appended[-1].next_physical_offset)
        return self._answer(request, draft.queue_id, last, ids, Scanned(wait=wait))

    def _plain_batch(
        self, request: Request, target: Target, draft: Draft
    ) -> Response | Parked | None:
        """The usual batch: items of one size that differ in body and UNIQ_KEY; None for others."""
        cut = cut_batch(draft.body)
        if cut is None or target.needs_keys or draft.reconsume_times:
            return None
        flag, bodies, raws = cut
        plain = self._scanner.plain_run(raws)
        if plain is None:
            return None
        count = len(bodies)
        run = Run(
            draft.topic,
            (draft.queue_id,) * count,
            flag,
            draft.sys_flag,
            (draft.born_timestamp_ms,) * count,
            draft.born_host,
            bodies,
            plain[0],
            plain[2],
        )
        appended = self._store.append_run(run)
        begin, size = appended.physical_offset, appended.size
        self._count(target, count, size * count)
        prefix, end = self.id_prefix, appended.next_physical_offset
        ids = ",".join([f"{prefix}{position:016X}" for position in range(begin, end, size)])
        last = Appended(begin, appended.queue_offsets[0], size, 0, end)
        return self._answer(request, draft.queue_id, last, ids, Scanned())

    def _items(self, target: Target, body: bytes) -> tuple[list[BatchItem], bool]:
        """The batch's messages as they are stored, and whether anybody waits for the disk."""
        items: list[BatchItem] = []
        wait = True
        plain = self._scanner.plain
        for flag, one, raw in decode_batch(body):
            known = None if target.needs_keys or len(one) > self._body_max else plain(raw)
            if known is None:
                scanned = self._scan(target, raw, len(one))
                if scanned.special:
                    raise Refused(ResponseCode.MESSAGE_ILLEGAL, "a batch takes no delayed messages")
                wait = wait and scanned.wait
                known = scanned.stored, scanned.tags_code
            items.append((flag, one, known[0], known[1]))
        if not items:
            raise Refused(ResponseCode.MESSAGE_ILLEGAL, "the batch is empty")
        return items, wait

    def _count(self, target: Target, count: int, size: int) -> None:
        stats, totals = target.stats, self._stats.totals
        stats.puts += count
        stats.put_bytes += size
        if size > count << 10:  # the first bound of MESSAGE_BYTES
            stats.note_large(count, size / count)
        totals.puts += count
        totals.put_bytes += size

    def _answer(
        self, request: Request, queue_id: int, appended: Appended, message_id: str, scanned: Scanned
    ) -> Response | Parked:
        if self._pair is not None:
            return self._pair.answer(request, queue_id, appended, message_id, scanned)
        wait = self._sync and scanned.wait
        reply = SendReply(
            self._durable_suffix if wait else self._memory_suffix,
            message_id,
            queue_id,
            appended.queue_offset,
            scanned.uniq_key,
        )
        response = Response(frame=reply)
        if not wait:
            self._stats.receipts.memory += 1
            return response
        request.command.body = b""  # it is in the log: do not hold it while the disk works
        self._store.when_durable(
            appended.next_physical_offset, lambda durable: self._flushed(request, response, durable)
        )
        return PARKED

    def _flushed(self, request: Request, response: Response, durable: bool) -> None:
        if not durable:
            response.code = ResponseCode.FLUSH_DISK_TIMEOUT
            response.remark = NOT_FLUSHED
            assert isinstance(response.frame, SendReply)
            response.ext, response.frame = response.frame.ext("memory"), None
            self._stats.receipts.flush_timeouts += 1
        else:
            self._stats.receipts.disk += 1
        request.answer(response)
