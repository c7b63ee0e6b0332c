"""A ledger's file: what was added can be read, wherever it was cut off, and nothing else can."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.ops.ledger.evidence import Evidence
from broker_trio.ops.ledger.file import LedgerDamaged, load, open_ledger
from broker_trio.ops.ledger.payload import Numbered, body_of, key_of, parse_body
from broker_trio.ops.ledger.records import (
    Attempt,
    Ended,
    Outcome,
    Record,
    Writing,
    decode_record,
    encode_record,
)
from broker_trio.ops.ledger.sequence import Frames, framed
from broker_trio.runtime.disk import RealDisk
from broker_trio.wire import cbor

from .ledgers import W1, W2, sound

HEAD = Writing(writer=W1, topic="orders", t=0.0, wall_ms=1)
SOME: list[Record] = [
    HEAD,
    Attempt(n=1, t=1.0, wall_ms=2),
    Outcome(n=1, t=1.5, wall_ms=3, how="ok", broker="broker-a", queue=2, offset=7),
    Attempt(n=2, t=2.0, wall_ms=4),
    Outcome(n=2, t=2.5, wall_ms=5, how="unknown", why="x" * 300),
    Ended(t=3.0, wall_ms=6),
]
WHOLE = b"".join(framed(encode_record(record)) for record in SOME)


def read(data: bytes, piece: int = 1 << 20) -> tuple[list[Record], Frames]:
    frames, found = Frames(), []
    for at in range(0, len(data), piece):
        found += [decode_record(one) for one in frames.records(data[at : at + piece])]
    return found, frames


def test_every_kind_of_record_comes_back_as_it_was() -> None:
    """Also those of a reader, and in pieces of any size."""
    drill = sound()
    drill.damaged(0, 9)
    everything = [*drill.writing(), *drill.reading()]
    data = b"".join(framed(encode_record(record)) for record in everything)
    for piece in (1, 7, 4096):
        assert read(data, piece)[0] == everything


def test_the_file_is_a_cbor_sequence() -> None:
    """Each item is an array of a checksum and a byte string that holds the record's own CBOR."""
    checksum, record = cbor.loads(WHOLE)
    assert isinstance(checksum, int)
    assert cbor.loads(record) == {
        "k": "writing", "writer": W1, "topic": "orders", "t": 0.0, "wall_ms": 1,
    }  # fmt: skip


def test_a_file_cut_off_anywhere_gives_every_record_before_the_cut() -> None:
    """And never half of one; the rest is known for torn."""
    ends = [0]
    for record in SOME:
        ends.append(ends[-1] + len(framed(encode_record(record))))
    for cut in range(len(WHOLE) + 1):
        found, frames = read(WHOLE[:cut])
        whole = sum(end <= cut for end in ends) - 1
        assert found == SOME[:whole]
        assert (frames.good, frames.rest, frames.problem) == (ends[whole], cut - ends[whole], "")
        assert frames.torn == (cut not in ends)


def test_zeros_at_the_end_are_torn_too() -> None:
    """A power cut may leave a file longer than what was written."""
    found, frames = read(WHOLE + bytes(4096))
    assert (found, frames.torn) == (SOME, True)


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_never_taken_for_a_record(at: int, flip: int) -> None:
    """Records before it stand, the one with it and all behind it are not read."""
    data = bytearray(WHOLE)
    data[at] ^= flip
    found, frames = read(bytes(data))
    assert found == SOME[: len(found)]
    assert len(found) < len(SOME)
    assert frames.good <= at


@given(st.binary(max_size=300))
def test_any_bytes_end_in_records_or_in_a_problem(data: bytes) -> None:
    """What is no ledger is refused, never decoded into something else."""
    frames = Frames()
    for one in frames.records(data):
        with pytest.raises(RemoteProtocolError):
            decode_record(one)


@pytest.mark.parametrize(
    "value", [None, {}, {"k": "nothing"}, {"k": "a", "n": "one", "t": 1.0, "wall_ms": 1}, [1]]
)
def test_a_record_of_another_shape_is_refused(value: object) -> None:
    """By a typed error."""
    with pytest.raises(RemoteProtocolError, match="no record of a ledger"):
        decode_record(cbor.dumps(value))


def test_a_ledger_of_a_later_version_is_refused() -> None:
    """An old program does not judge by what it does not understand."""
    later = Writing(writer=W1, topic="orders", t=0.0, wall_ms=1, version=2)
    with pytest.raises(RemoteProtocolError, match="a ledger of version 2, this program reads up"):
        decode_record(encode_record(later))


async def test_a_killed_writers_file_is_gone_on_with(tmp_path: Path) -> None:
    """What was half written is cut off; the next run stands behind what is whole."""
    disk = RealDisk(str(tmp_path), nowait=False)
    file = await open_ledger(disk, "w.cbor")
    for record in SOME[:4]:
        file.add(record)
    file.close()  # without a flush: a kill leaves the page cache as it is
    path = tmp_path / "w.cbor"
    path.write_bytes(path.read_bytes()[:-3])
    file = await open_ledger(disk, "w.cbor")
    file.add(Writing(writer=W2, topic="orders", t=0.0, wall_ms=9))
    await file.flush()
    file.close()
    evidence = Evidence()
    assert load(disk, "w.cbor", evidence) == 4
    assert list(evidence.writers) == [W1, W2]
    assert list(evidence.writers[W1].attempts) == [1]
    assert (evidence.flaws, evidence.notes) == ([], [])


async def test_a_file_of_something_else_is_never_written_to(tmp_path: Path) -> None:
    """Neither appended to nor cut."""
    path = tmp_path / "notes.txt"
    path.write_text("remember the milk")
    disk = RealDisk(str(tmp_path), nowait=False)
    with pytest.raises(LedgerDamaged, match="byte 0 begins no record; write to another file"):
        await open_ledger(disk, "notes.txt")
    with pytest.raises(LedgerDamaged, match=r"notes\.txt is no ledger: byte 0 begins no record"):
        load(disk, "notes.txt", Evidence())
    assert path.read_text() == "remember the milk"


async def test_damage_in_the_middle_is_told_to_the_judge(tmp_path: Path) -> None:
    """What stands before it is kept, and the flaw is named."""
    data = bytearray(WHOLE)
    data[-20] ^= 1
    (tmp_path / "w.cbor").write_bytes(data)
    (tmp_path / "t.cbor").write_bytes(WHOLE[:-2])
    evidence = Evidence()
    disk = RealDisk(str(tmp_path), nowait=False)
    load(disk, "w.cbor", evidence)
    assert len(evidence.flaws) == 1
    assert "does not match its checksum; nothing after it was read" in evidence.flaws[0]
    assert evidence.writers[W1].cut
    load(disk, "t.cbor", evidence)
    assert evidence.notes[0].startswith("t.cbor: its last ")


def test_a_body_says_whose_it_is() -> None:
    """Whatever its size; its key says the same."""
    for size in (64, 65, 256, 4096):
        body = body_of(W1, 42, size)
        assert len(body) == size
        assert parse_body(body, [key_of(W1, 42)]) == Numbered(W1, 42)
        assert parse_body(body, []) == Numbered(W1, 42)


@given(st.integers(0, 127), st.integers(1, 255))
def test_a_changed_byte_of_a_body_is_damage(at: int, flip: int) -> None:
    """Nowhere does it pass for another message, nor for one of another program."""
    body = bytearray(body_of(W1, 42, 128))
    body[at] ^= flip
    assert isinstance(parse_body(bytes(body), [key_of(W1, 42)]), str)


@given(st.binary(max_size=100), st.booleans())
def test_bodies_of_others_are_foreign_or_damaged(data: bytes, magic: bool) -> None:
    """Nothing raises, whatever a stranger sends to the topic."""
    body = b"btl1 " + data if magic else data
    told = parse_body(body, ["some-key"])
    assert isinstance(told, str) == body.startswith(b"btl1 ")
    huge = b"btl1 " + b"9" * 5_000 + b" 1 2 3"
    assert isinstance(parse_body(huge, []), str)
