"""A message in its consumer's hands: what leaving its block means, and how its body is unpacked."""

import zlib
from datetime import UTC, datetime

import pytest

from broker_trio.client.codecs import BodyUnreadable, Json
from broker_trio.client.consumer_errors import MessageSettled
from broker_trio.client.delivered import Delivered, Outcome, Verdict
from broker_trio.client.errors import UnsupportedDelay
from broker_trio.client.process_queue import Held, ProcessQueue
from broker_trio.client.unpack import unpacked
from broker_trio.model.message import MessageExt, SysFlag
from broker_trio.model.route import MessageQueue

QUEUE = MessageQueue("%RETRY%g", "b", 3)


def record(body: bytes = b"", sys_flag: int = 0, **properties: str) -> MessageExt:
    return MessageExt(
        topic="%RETRY%g",
        queue_id=3,
        queue_offset=7,
        physical_offset=100,
        body=body,
        sys_flag=sys_flag,
        properties=properties,
        reconsume_times=2,
        store_timestamp_ms=1_500,
        born_timestamp_ms=500,
    )


class Desk:
    """Where outcomes arrive; says whether exceptions stay."""

    def __init__(self, stays: bool = True) -> None:
        self.outcomes: list[Outcome] = []
        self.stays = stays

    def settle(self, _message: Delivered, outcome: Outcome) -> bool:
        self.outcomes.append(outcome)
        return self.stays and outcome.error is not None

    def message(self, stored: MessageExt | None = None, failed: int = 0) -> Delivered:
        held = Held(stored or record(), failed=failed)
        return Delivered(ProcessQueue(QUEUE, 0), held, self.settle)


async def test_what_a_program_sees_of_a_retried_message() -> None:
    """Its own topic and id, the attempt counted with those that only this process knows of."""
    stored = record(
        b'{"n":1}', RETRY_TOPIC="orders", UNIQ_KEY="U", TAGS="A", KEYS="a b", __SHARDINGKEY="k"
    )
    message = Desk().message(stored, failed=1)
    assert (message.topic, message.queue, message.queue_offset) == ("orders", QUEUE, 7)
    assert (message.message_id, message.tag, message.keys) == ("U", "A", ["a", "b"])
    assert (message.ordering_key, message.attempt) == ("k", 4)
    assert message.stored_at == datetime.fromtimestamp(1.5, UTC)
    assert message.born_at == datetime.fromtimestamp(0.5, UTC)
    assert message.decode(Json(dict[str, int])) == {"n": 1}
    assert repr(message) == "<message U of orders, b/3@7, attempt 4>"
    assert not message.revoked


async def test_leaving_is_the_outcome() -> None:
    """Normally, by an exception, and with a wish said before either."""
    desk = Desk()
    async with desk.message():
        pass
    error = ValueError("no")
    async with desk.message():
        raise error
    async with desk.message() as message:
        message.reject()
        raise error
    async with desk.message() as message:
        message.retry(delay=30, cause="later")
    assert desk.outcomes == [
        Outcome(Verdict.ACKNOWLEDGED),
        Outcome(Verdict.RETRY, cause="ValueError: no", error=error),
        Outcome(Verdict.REJECTED, cause="ValueError: no", error=error),
        Outcome(Verdict.RETRY, 4, "later"),
    ]


async def test_whether_an_exception_goes_on_is_the_desks_decision() -> None:
    """The outcome is told first."""
    desk = Desk(stays=False)
    with pytest.raises(ValueError, match="out"):
        async with desk.message():
            raise ValueError("out")
    assert len(desk.outcomes) == 1


async def test_a_message_is_entered_once() -> None:
    """A second time is a mistake of the program, and changes nothing."""
    desk = Desk()
    message = desk.message()
    async with message:
        with pytest.raises(MessageSettled, match="handled already"):
            async with message:
                raise AssertionError
    assert len(desk.outcomes) == 1


async def test_only_delays_that_exist() -> None:
    """The same 18 as of a send."""
    with pytest.raises(UnsupportedDelay):
        Desk().message().retry(delay=7)


def test_compressed_bodies_are_unpacked() -> None:
    """zlib by either flag; plain ones are as they are."""
    packed = zlib.compress(b"x" * 1_000)
    for kind in (0, SysFlag.COMPRESSION_ZLIB):
        assert unpacked(record(packed, SysFlag.COMPRESSED | kind)) == b"x" * 1_000
    assert unpacked(record(packed)) == packed


@pytest.mark.parametrize(
    ("body", "kind", "why"),
    [
        (zlib.compress(bytes(100_001)), SysFlag.COMPRESSION_ZLIB, "more than 100000 bytes"),
        (b"no zlib", 0, "incorrect header check"),
        (b"x", 0x400, "unknown compression"),
        (b"x", SysFlag.COMPRESSION_LZ4, "lz4"),
        (b"x", SysFlag.COMPRESSION_ZSTD, "zstandard|unpacked"),
    ],
)
def test_bodies_that_cannot_be_unpacked_say_why(body: bytes, kind: int, why: str) -> None:
    """A bomb, garbage, an unknown kind, a package that is missing: the message can be rejected."""
    with pytest.raises(BodyUnreadable, match=why):
        unpacked(record(body, SysFlag.COMPRESSED | kind, UNIQ_KEY="U"), 100_000)
