"""One store folder, opened by both makes in turn: nothing is lost, nothing doubled, nothing moved.

    ours ──stop──▶ Apache ──stop──▶ ours        and the other way round; stop = SIGTERM, kill -9
      write         check, write      check

Both listen on the same port and roll after 256 KiB of log and 50 units of queue, so that each of
them reads many files of the other. What was pulled before a stop is compared byte for byte with
what is pulled after it: bodies, properties, places, times, hosts.

Beginning with Apache takes longest and shows least that is new: those are marked `oracle`, as
everything is that names Apache alone.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from broker_trio.model.codes import RequestCode as Code
from broker_trio.wire.record import decode_records
from tests.interop import cache
from tests.interop.clusters import (
    Cluster,
    Place,
    Program,
    start_broker,
    start_nameserver,
    take_port,
)
from tests.interop.differ import Side, batch, create_topic, ext, pull, send
from tests.interop.raw import Connection, connected

QUEUES: Final = 3
MESSAGES: Final = 160  # of each writing: more than three queue files and a segment
LARGE: Final = 40_000
PATIENCE_S: Final = 60.0
SEGMENT: Final = 256 << 10
UNITS: Final = 50
OURS: Final = {
    "BROKER_TRIO__STORE__COMMIT_LOG_SEGMENT_BYTES": str(SEGMENT),
    "BROKER_TRIO__STORE__CONSUME_QUEUE_SEGMENT_UNITS": str(UNITS),
    "BROKER_TRIO__STORE__MESSAGE_SIZE_MAX": "65536",
}
APACHE: Final = (
    f"mappedFileSizeCommitLog={SEGMENT}",
    f"mappedFileSizeConsumeQueue={UNITS * 20}",
    "maxMessageSize=65536",
)
GROUP: Final = "files-group"
Records = dict[tuple[str, int], list[bytes]]


@dataclass
class Book:
    """What was acknowledged, and how it was pulled before the last stop."""

    bodies: list[bytes] = field(default_factory=list)
    delayed: list[bytes] = field(default_factory=list)
    keys: dict[str, bytes] = field(default_factory=dict)
    ids: dict[str, bytes] = field(default_factory=dict)
    pulled: Records = field(default_factory=dict)
    ends: dict[tuple[str, int], tuple[Any, ...]] = field(default_factory=dict)
    committed: int = -1


@dataclass
class Shared:
    """One store and whoever has it open."""

    folder: Path
    nameserver: Program
    place: Place

    def open(self, kind: str) -> Program:
        script = cache.apache() if kind == "apache" else None
        return start_broker(
            kind, self.folder / kind, self.nameserver.address, script, place=self.place
        )


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    cache.apache()
    nameserver = start_nameserver("ours", tmp_path / "nameserver")
    yield Shared(tmp_path, nameserver, Place(take_port(), tmp_path / "store", OURS, APACHE))
    nameserver.stop()


def side_of(program: Program, nameserver: Program, connection: Connection) -> Side:
    cluster = Cluster("either", nameserver.address, program.address, "broker-a")
    return Side(cluster, connection, connection, {"group": GROUP})


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
@pytest.mark.parametrize("first", ["ours", "apache"])
def test_a_store_goes_to_the_other_make_and_back(shared: Shared, first: str, kill: bool) -> None:
    """Three owners, each of which finds what those before it acknowledged."""
    second = "apache" if first == "ours" else "ours"
    book = Book()
    for turn, kind in enumerate((first, second, first)):
        program = shared.open(kind)
        try:
            with connected(program.address) as connection:
                side = side_of(program, shared.nameserver, connection)
                if turn:
                    check(side, book, killed=kill)
                write(side, book, turn)
                remember(side, book)
        except BaseException:
            program.stop(kill=True)
            raise
        program.stop(kill=kill)


# -- writing -----------------------------------------------------------------------------------


def write(side: Side, book: Book, turn: int) -> None:
    """Plain, keyed, tagged, large and batched messages; a delayed one that nobody sees before."""
    if not turn:
        assert create_topic(side, "Plain", readQueueNums=QUEUES, writeQueueNums=QUEUES).code == 0
        assert create_topic(side, "Delayed").code == 0
    for number in range(MESSAGES):
        name = f"{turn}-{number}"
        body = name.encode() + b"." * (LARGE if number == 7 else 1_000)
        properties = {"KEYS": f"key-{name}", "UNIQ_KEY": f"ID{name}", "TAGS": f"Tag{number % 2}"}
        answer = send(side, "Plain", body, properties=properties, e=number % QUEUES)
        assert answer.code == 0, answer
        book.bodies.append(body)
        book.keys[f"key-{name}"] = book.keys[f"ID{name}"] = body
        book.ids[str(answer.ext["msgId"])] = body
    assert send(side, "Plain", batch(4), Code.SEND_BATCH_MESSAGE, e=turn).code == 0
    book.bodies += [b"item"] * 4
    last = f"delayed-{turn}".encode()
    assert send(side, "Delayed", last, properties={"DELAY": "3"}).code == 0  # 10 s: the next owner
    book.delayed.append(last)
    book.committed = 5 * (turn + 1)
    fields = ext(consumerGroup=GROUP, topic="Plain", queueId=0, commitOffset=book.committed)
    pull(side, "Plain", 0)  # Apache knows a group once it pulled
    assert side.broker.ask(Code.UPDATE_CONSUMER_OFFSET, fields).code == 0


def remember(side: Side, book: Book) -> None:
    """Once readers see all of it: its bytes and its ends."""
    eventually(lambda: bodies(everything(side)), sorted(book.bodies), sorted)
    book.pulled, book.ends = everything(side), ends(side)


# -- checking ----------------------------------------------------------------------------------


def check(side: Side, book: Book, *, killed: bool) -> None:
    """All that the owners before acknowledged is here, once, and where it was."""
    assert everything(side) == book.pulled
    assert ends(side) == book.ends
    for key, body in book.keys.items():
        assert [one.body for one in query(side, key)] == [body], key
    for message_id, body in book.ids.items():
        answer = side.broker.ask(Code.VIEW_MESSAGE_BY_ID, ext(offset=int(message_id[16:], 16)))
        assert [one.body for one in decode_records(answer.body)] == [body]
    check_offset(side, book, killed=killed)
    topic = side.broker.ask(Code.GET_TOPIC_CONFIG, ext(topic="Plain"))
    assert b'"readQueueNums":3' in topic.body.replace(b" ", b"")
    # How far a level was delivered is written every few seconds: a kill may repeat the last ones.
    eventually(lambda: delayed(side), book.delayed, once if killed else sorted)


def check_offset(side: Side, book: Book, *, killed: bool) -> None:
    """A group goes on where it was; after a kill where its offsets were last written."""
    fields = ext(consumerGroup=GROUP, topic="Plain", queueId=0)
    found = side.broker.ask(Code.QUERY_CONSUMER_OFFSET, fields)
    offset = int(found.ext.get("offset", "0"))
    assert offset <= book.committed
    assert killed or offset == book.committed


def everything(side: Side) -> Records:
    """Every record of every queue of the plain topic, as its bytes."""
    found: Records = {}
    for queue_id in range(QUEUES):
        records = found["Plain", queue_id] = list[bytes]()
        while len(records) < int(max_offset(side, "Plain", queue_id)):
            answer = pull(side, "Plain", len(records), queueId=queue_id)
            assert answer.code == 0, answer
            records += split(answer.body)
    return found


def split(body: bytes) -> list[bytes]:
    """Records one by one."""
    result = []
    while body:
        size = int.from_bytes(body[:4], "big")
        result.append(body[:size])
        body = body[size:]
    return result


def bodies(records: Records) -> list[bytes]:
    return [one.body for raw in records.values() for one in decode_records(b"".join(raw))]


def delayed(side: Side) -> list[bytes]:
    """What was delivered of the delayed topic."""
    if not int(max_offset(side, "Delayed", 0)):
        return []
    return [one.body for one in decode_records(pull(side, "Delayed", 0).body)]


def max_offset(side: Side, topic: str, queue_id: int) -> str:
    return str(
        side.broker.ask(Code.GET_MAX_OFFSET, ext(topic=topic, queueId=queue_id)).ext["offset"]
    )


def ends(side: Side) -> dict[tuple[str, int], tuple[Any, ...]]:
    """Each queue's first and next offset, and where its first message's time leads."""
    found: dict[tuple[str, int], tuple[Any, ...]] = {}
    for queue_id in range(QUEUES):
        fields = {"topic": "Plain", "queueId": queue_id}
        low = side.broker.ask(Code.GET_MIN_OFFSET, ext(**fields)).ext["offset"]
        first = side.broker.ask(Code.GET_EARLIEST_MSG_STORETIME, ext(**fields)).ext["timestamp"]
        by_time = side.broker.ask(
            Code.SEARCH_OFFSET_BY_TIMESTAMP, ext(**fields, timestamp=first, boundaryType="LOWER")
        ).ext["offset"]
        found["Plain", queue_id] = (low, max_offset(side, "Plain", queue_id), first, by_time)
    return found


def query(side: Side, key: str) -> list[Any]:
    """What has that key; a name of our ids is a unique key."""
    fields = ext(topic="Plain", key=key, maxNum=8, beginTimestamp=0, endTimestamp=1 << 42)
    if key.startswith("ID"):
        fields["_UNIQUE_KEY_QUERY"] = "true"
    return decode_records(side.broker.ask(Code.QUERY_MESSAGE, fields).body)


def once(found: list[bytes]) -> list[bytes]:
    """In order, and each of them once."""
    return sorted(set(found))


def eventually(
    look: Callable[[], list[bytes]],
    expected: list[bytes],
    order: Callable[[list[bytes]], list[bytes]],
) -> None:
    """`look` comes to give exactly that."""
    end = time.monotonic() + PATIENCE_S
    while (found := order(look())) != order(expected):
        assert time.monotonic() < end, f"{len(found)} found, {len(expected)} expected"
        time.sleep(0.2)
