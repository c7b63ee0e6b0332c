"""The replication stream's frames: golden bytes, bounds, proofs."""

from contextlib import suppress

import pytest

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.wire import replication as wire
from broker_trio.wire.replication import (
    Ack,
    Attach,
    Attached,
    Challenge,
    Chunk,
    Hello,
    Metadata,
    Rejection,
    ReplicationFrames,
    Welcome,
)

A, B = "0a" * 16, "0b" * 16
NONCE, PROOF = bytes(range(32)), bytes(32)
HELLO = Hello(1, "C", "b", 2, B, NONCE, PROOF)
ATTACH = Attach((7, A), (7, A), [(1, A, 0), (7, A, 90)], 100, 80, 4096, 0, 5)
ATTACHED = Attached((8, B), b"r", [(1, A, 0), (8, B, 100)], 90, 0, 60, 10, 5)
METADATA = Metadata("topics", {"T": {"perm": 6}}, ["U"], (0, 1, 2), True, False, 100)
CHUNK = Chunk((7, A), 100, 90, 110, 3, 1_700_000_000_000, b"0123456789")
ACK = Ack(B, (7, A), 110, 90, True)
BODIES = (Challenge(1, NONCE), HELLO, Welcome(PROOF), ATTACH, ATTACHED, Rejection("no"), METADATA)


def framed(message):
    if isinstance(message, Chunk):
        return b"".join(wire.encode_chunk(message))
    return wire.encode_ack(message) if isinstance(message, Ack) else wire.encode(message)


def read(data, *, limit=wire.FRAME_BYTES_MAX):
    frames = ReplicationFrames(limit)
    frames.receive_data(data)
    return frames.next_message()


@pytest.mark.parametrize("message", [*BODIES, CHUNK, ACK], ids=lambda one: type(one).__name__)
def test_a_message_comes_back_as_it_was(message):
    """Every kind survives its own encoding, and leaves nothing behind."""
    frames = ReplicationFrames(wire.FRAME_BYTES_MAX)
    frames.receive_data(framed(message) * 2)
    assert [frames.next_message(), frames.next_message(), frames.next_message()] == [
        message, message, None,
    ]  # fmt: skip
    assert frames.buffered == 0


def test_golden_chunk():
    """The layout of a chunk is fixed: brokers of two versions must understand each other."""
    assert framed(CHUNK).hex() == (
        "0000004f" "f8f9325d" "07" "0000000000000007" + A + "0000000000000064" "000000000000005a"
        "000000000000006e" "0000000000000003" "0000018bcfe56800" "30313233343536373839"
    )  # fmt: skip


def test_golden_ack():
    """So is that of an ack."""
    assert framed(ACK).hex() == (
        "0000003e" "a2a6cb37" "08" + B + "0000000000000007" + A
        + "000000000000006e" "000000000000005a" "01"
    )  # fmt: skip


def test_golden_reason():
    """And a map by field names in CBOR for the rest."""
    assert framed(Rejection("no")).hex() == "0000001033704a8006a166726561736f6e626e6f"


def test_a_stranger_gets_small_frames_only():
    """Before its sender is known a frame's claimed length is refused with its first four bytes."""
    frames = ReplicationFrames()
    frames.receive_data((wire.STRANGER_BYTES_MAX + 1).to_bytes(4, "big"))
    with pytest.raises(RemoteProtocolError, match="2049 bytes"):
        frames.next_message()


def test_the_first_error_is_final():
    """A stream that lost its framing stays lost, whatever comes."""
    frames = ReplicationFrames()
    frames.receive_data(b"\0\0\0\x04")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="4 bytes"):
            frames.next_message()
        frames.receive_data(wire.encode(Rejection("no")))
    assert frames.buffered == 0


def test_every_bit_is_checked():
    """One flipped bit anywhere is an error, or waits for bytes that never come."""
    good = framed(CHUNK)
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with suppress(RemoteProtocolError):
            assert read(bytes(bad)) is None


@pytest.mark.parametrize(
    "message",
    [
        Chunk((7, A), 100, 90, 105, 0, 0, b"0123456789"),  # beyond its own log
        Chunk((7, A), -1, 0, 105, 0, 0, b""),
        Chunk((7, A), 0, -1, 105, 0, 0, b""),
        Chunk((7, A), 0, 0, 105, -1, 0, b""),
        Ack(B, (7, A), 90, 110, True),  # fsynced and never written
        Ack(B, (7, A), 90, -1, True),
        Challenge(1, b"short"),
        Hello(1, "C", "b", 2, B, NONCE, b"short"),
        Hello(1, "C" * 256, "b", 2, B, NONCE, PROOF),
        Hello(1, "C", "b", -1, B, NONCE, PROOF),
        Hello(1, "C", "b", 2, "", NONCE, PROOF),
        Hello(1, "C", "b", 2, "../../etc", NONCE, PROOF),
        Attach((7, "x"), (7, A), [], 100, 80, 4096, 0, 5),
        Attach((7, A), (7, A), [], 100, 101, 4096, 0, 5),
        Attach((7, A), (7, A), [], 100, 80, 0, 0, 5),
        Attach((7, A), (7, A), [(7, A, 90), (1, A, 95)], 100, 80, 4096, 0, 5),
        Attach((7, A), (7, A), [(1, A, 90), (7, A, 80)], 100, 80, 4096, 0, 5),
        Attach((7, A), (7, A), [(n, A, 0) for n in range(4097)], 100, 80, 4096, 0, 5),
        Attached((8, B), b"r", [], 90, 0, 60, 91, 5),
        Attached((8, B), b"r", [], 90, -1, 60, 10, 5),
    ],
)
def test_what_cannot_be_is_refused(message):
    """Values that fit their types and make no sense end in an error."""
    with pytest.raises(RemoteProtocolError):
        read(framed(message))


def test_an_unknown_kind_is_refused():
    """So that a later version must say its version first."""
    data = b"".join(wire._frame(99, b"hello"))  # type: ignore[arg-type]
    with pytest.raises(RemoteProtocolError, match="kind 99"):
        read(data)


def test_a_proof_covers_all_that_was_said():
    """Another key, nonce, name, id or direction gives another proof."""
    challenge = Challenge(1, NONCE)
    proofs = {
        wire.slave_proof(b"k" * 16, challenge, HELLO),
        wire.master_proof(b"k" * 16, challenge, HELLO),
        wire.slave_proof(b"l" * 16, challenge, HELLO),
        wire.slave_proof(b"k" * 16, Challenge(1, PROOF), HELLO),
        wire.slave_proof(b"k" * 16, challenge, Hello(1, "D", "b", 2, B, NONCE, PROOF)),
        wire.slave_proof(b"k" * 16, challenge, Hello(1, "C", "c", 2, B, NONCE, PROOF)),
        wire.slave_proof(b"k" * 16, challenge, Hello(1, "C", "b", 3, B, NONCE, PROOF)),
        wire.slave_proof(b"k" * 16, challenge, Hello(1, "C", "b", 2, A, NONCE, PROOF)),
        wire.slave_proof(b"k" * 16, challenge, Hello(1, "C", "b", 2, B, PROOF, PROOF)),
    }
    assert len(proofs) == 9
    again = wire.slave_proof(b"k" * 16, challenge, Hello(1, "C", "b", 2, B, NONCE, NONCE))
    assert again in proofs, "the proof itself is not part of what it proves"
