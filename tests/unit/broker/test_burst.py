"""Sends that came together are stored and answered as if they had come one by one."""

from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_trio.broker.send import Send
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.topic import TopicConfig
from broker_trio.remoting.connection import Connection
from broker_trio.remoting.limits import RemotingLimits
from broker_trio.remoting.stats import RemotingStats
from broker_trio.wire.batch import BatchItem, cut_batch, decode_batch, encode_batch
from broker_trio.wire.command import Command, Serialize
from broker_trio.wire.send_burst import form_of
from broker_trio.wire.serialize import encode
from tests.unit.broker.fakes import running

KEY = "7F0000010A5C18B4AAC2332F1E9C{:04X}"


def frame(
    number: int,
    *,
    queue: str = "0",
    body: bytes = b"body",
    properties: str = "UNIQ_KEY\x01{key}\x02WAIT\x01true\x02TAGS\x01t\x02",
    key: str | None = None,
    topic: str = "T",
    flag: int = 0,
    serialize: Serialize = Serialize.ROCKETMQ,
    typed: bool = False,
    **other: str,
) -> bytes:
    """One SEND_MESSAGE_V2; `other`: header fields by their letters. `typed`: numbers as numbers."""
    fields = {
        "a": "group", "b": topic, "c": "TBW102", "d": "4", "e": queue, "f": "0",
        "g": str(1_795_406_085_000 + number), "h": "0",
        "i": properties.format(key=key if key is not None else KEY.format(number)),
        "j": "0", "k": "false", "m": "false", "n": "broker-a", **other,
    }  # fmt: skip
    if typed:
        numbers = {name: int(fields[name]) for name in "deghj" if fields[name].isdigit()}
        fields |= numbers | {name: fields[name] == "true" for name in "km"}
    return encode(Command(310, number, flag, fields, body, serialize=serialize))


class Fed:
    """What a broker made of frames."""

    def __init__(self) -> None:
        self.answers = b""
        self.log = b""
        self.bursts = 0
        self.error = ""


async def feed(reads: Sequence[bytes], *, bursts: bool, queues: int = 4) -> Fed:
    """Give reads to a connection of a fresh broker."""
    fed = Fed()
    async with running() as broker:
        broker.parts.topics.put(TopicConfig("T", queues, queues))
        dispatcher = broker.dispatcher
        take = dispatcher.take_burst
        assert take is not None

        def counted(*asked):
            taken = take(*asked)
            fed.bursts += taken is not None
            return taken

        dispatcher.take_burst = counted if bursts else None
        stats = RemotingStats()
        connection = Connection(
            1, trio.testing.MemorySendStream(), "10.9.9.9:4000", dispatcher, RemotingLimits(),
            stats, broker.store.write_out, lambda: None, lambda: None,
        )  # fmt: skip
        try:
            for data in reads:
                more = connection._feed(data)
                while more:
                    more = connection._feed(b"")
        except RemoteProtocolError as error:  # which ends a connection
            fed.error = str(error)
        fed.answers = b"".join(connection._outbox)
        fed.log = broker.store.log.read_nowait(0, broker.store.log.max_offset)
        assert fed.error or stats.frames_in == sum(s.count for s in stats.by_code.values())
        broker.store.index.catch_up()
        assert broker.store.dispatched_to() == broker.store.log.max_offset
    return fed


def compare(reads: Sequence[bytes], queues: int = 4) -> Fed:
    """Feed both ways, each in a loop of its own; the one with bursts, once they agree."""

    async def main() -> tuple[Fed, Fed]:
        together = await feed(reads, bursts=True, queues=queues)
        return together, await feed(reads, bursts=False, queues=queues)

    together, alone = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert together.log == alone.log
    assert together.answers == alone.answers
    assert together.error == alone.error
    return together


def learnt(**how: Any) -> bytes:
    """Enough frames of the usual form to make it known."""
    return b"".join(frame(number, **how) for number in range(20))


JSON: dict[str, Any] = {"serialize": Serialize.JSON}
CBOR: dict[str, Any] = {"serialize": Serialize.CBOR}
TYPED: dict[str, Any] = CBOR | {"typed": True}
CODECS: list[dict[str, Any]] = [{}, JSON, CBOR, TYPED]


@pytest.mark.parametrize("how", CODECS)
def test_the_usual_sends_go_together(how: dict[str, Any]) -> None:
    """One read after the form was learnt is one burst, also over the digits of queue offsets."""
    reads = [learnt(**how), b"".join(frame(20 + n, queue=str(n % 4), **how) for n in range(300))]
    assert compare(reads).bursts > 1


@pytest.mark.parametrize("how", CODECS)
def test_opaques_of_every_width(how: dict[str, Any]) -> None:
    """Numbers change their width, and with it the header's, in the midst of a read."""
    reads = [learnt(**how)]
    for first in (0, 14, 90, 246, 990, 9_990, 65_526, 99_990, 2**31 - 40):
        numbers = range(first, first + 40)
        reads.append(
            b"".join(frame(n, queue=str(n % 4), key=KEY.format(1), **how) for n in numbers)
        )
    assert compare(reads).bursts > 8


def test_queues_of_more_than_one_digit() -> None:
    """One byte in a CBOR header, two digits in the answer."""
    reads = [
        b"".join(frame(begin + n, queue=str(n % 40), **how) for n in range(80))
        for how in CODECS
        for begin in (300, 400)
    ]
    assert compare(reads, queues=40).bursts > 1


@pytest.mark.parametrize(
    "odd",
    [
        frame(900, queue="9"),  # no such queue
        frame(900, queue="+"),
        frame(900, queue="00000000000000000001"),
        frame(900, g="99999999999999999999"),
        frame(900, topic="U"),
        frame(900, key="7F0000010A5C18B4AAC2332F1E9C-!?x"),
        frame(900, properties="UNIQ_KEY\x01{key}\x02WAIT\x01fals\x02TAGS\x01t\x02"),
        frame(900, properties="UNIQ_KEY\x01{key}\x02WAIT\x01true\x02TAGS\x01u\x02"),
        frame(900, body=b"four"),
        frame(900, flag=2),  # one-way
        frame(900, f="8"),  # a transaction's commit
        frame(900, g="17954060x5900"),
        frame(900, j="3"),
        frame(900, m="False"),
        frame(900, serialize=Serialize.JSON),
        frame(900, body=b""),
        frame(900, properties="UNIQ_KEY\x01{key}\x02DELAY\x013\x02TAGS\x01t\x02"),
    ],
)
def test_an_odd_one_among_them(odd: bytes) -> None:
    """It is stored, refused or dropped as it would be alone, and so are its neighbours."""
    around = [learnt(), frame(30) + frame(31) + odd + frame(32) + frame(33), odd * 8, frame(34)]
    assert compare(around).bursts > 1


ODD: list[tuple[dict[str, Any], bytes, bytes]] = [
    (JSON, b":900000,", b":000900,"),
    (JSON, b":900000,", b":9x0000,"),
    (JSON, b":900000,", b":90.000,"),
    (JSON, b":900000,", b":90000-,"),
    (JSON, b'"e":"2"', b'"e":2 '),
    (JSON, b'"e":"2"', b'"e":"+"'),
    (JSON, b"B4AAC", b'B4"AC'),
    (TYPED, b"\x1a\x00\x0d\xbb\xa0", b"\x1a\x00\x00\x00\x17"),
    (TYPED, b"\x1a\x00\x0d\xbb\xa0", b"\x1a\xff\xff\xff\xff"),
    (TYPED, b"ae\x02", b"ae\x18"),
    (TYPED, b"ae\x02", b"ae\x20"),
    (TYPED, b"ag\x1b\x00\x00", b"ag\x1b\xff\x00"),
    (CBOR, b"aea2", b"aea+"),
    (CBOR, b"B4AAC", b"B4\x02AC"),
    ({}, b"B4AAC", b"B4\xffAC"),
]


@pytest.mark.parametrize(("how", "right", "wrong"), ODD, ids=map(str, range(len(ODD))))
def test_a_hole_with_something_else_in_it(how: dict[str, Any], right: bytes, wrong: bytes) -> None:
    """Numbers and keys that this side would not write so, or that are none: as they are alone."""
    usual = [frame(900_000 + n, queue="2", key=KEY.format(n), **how) for n in range(20)]
    assert right in usual[0]
    odd = usual[0].replace(right, wrong)
    fed = compare([b"".join(usual), usual[1] + usual[2] + odd + odd + usual[3], odd * 9])
    assert fed.bursts


frames = st.builds(
    frame,
    st.integers(0, 60_000),
    queue=st.sampled_from(["0", "1", "3", "00", "4", "-1"]),
    body=st.sampled_from([b"body", b"BODY", b"other size"]),
    flag=st.sampled_from([0, 0, 0, 2]),
    topic=st.sampled_from(["T", "T", "T", "U"]),
    serialize=st.sampled_from([Serialize.ROCKETMQ] * 3 + [Serialize.CBOR, Serialize.JSON]),
)


@given(st.lists(frames, max_size=60), st.lists(st.integers(1, 4_000), max_size=12))
@settings(max_examples=12, deadline=None)
def test_any_mixture_in_any_chunks(drawn: list[bytes], cuts: list[int]) -> None:
    """Whatever stands beside whatever, and wherever reads end."""
    data, reads = learnt() + b"".join(drawn), []
    for cut in cuts:
        reads.append(data[:cut])
        data = data[cut:]
    compare([*reads, data])


def test_a_frame_that_is_no_send_has_no_form() -> None:
    """Only whole, answered, single sends with a key and a body become forms."""
    assert form_of(frame(1), 0) is not None
    for odd in (
        frame(1, flag=2), frame(1, m="true"), frame(1, body=b""),
        frame(1, properties="TAGS\x01t\x02"), frame(1, queue="x"), frame(1, key=""),
        frame(1, properties="UNIQ_KEY\x01{key}"),
    ):  # fmt: skip
        assert form_of(odd, 0) is None


PLAIN = "UNIQ_KEY\x01{}\x02WAIT\x01true\x02"
items = st.builds(
    BatchItem,
    st.sampled_from([0, 0, 0, 7]),
    st.sampled_from([b"body", b"BODY", b"longer body"]),
    st.integers(0, 0xFFFF).map(lambda n: PLAIN.format(KEY.format(n)).encode())
    | st.sampled_from([b"", b"UNIQ_KEY\x01\x02WAIT\x01true\x02", b"TAGS\x01t\x02"]),
)


@given(st.lists(items, max_size=40), st.binary(max_size=3))
def test_a_batch_cut_at_once_is_the_batch(drawn: list[BatchItem], more: bytes) -> None:
    """`cut_batch` says what `decode_batch` says, or nothing."""
    body = encode_batch(drawn) + more
    cut = cut_batch(body)
    if cut is not None:
        flag, bodies, properties = cut
        expected = [(flag, *rest) for rest in zip(bodies, properties, strict=True)]
        assert decode_batch(body) == expected


@pytest.mark.parametrize(
    "batch",
    [
        [BatchItem(0, b"body", PLAIN.format(KEY.format(n)).encode()) for n in range(40)],
        [BatchItem(n, b"body", PLAIN.format(KEY.format(n)).encode()) for n in range(4)],
        [BatchItem(0, bytes(n + 1), PLAIN.format(KEY.format(n)).encode()) for n in range(4)],
        [BatchItem(0, b"body", b"UNIQ_KEY\x01" + b"K" * 2_000 + b"\x02") for n in range(4)],
        [BatchItem(0, b"body", PLAIN.format("no-key").encode()) for n in range(4)],
    ],
)
def test_a_batch_as_its_items_alone(
    batch: list[BatchItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quick way of a batch stores and answers what the long way does."""
    reads = [frame(n, m="true", properties="", body=encode_batch(batch)) for n in range(3)]

    async def main() -> tuple[Fed, Fed]:
        quick = await feed(reads, bursts=True)
        monkeypatch.setattr(Send, "_plain_batch", lambda *_: None)
        return quick, await feed(reads, bursts=True)

    quick, long = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert quick.log == long.log
    assert quick.answers == long.answers
    assert quick.answers
