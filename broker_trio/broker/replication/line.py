"""One connection between two replicas: whole messages each way, and how both prove who they are.

    master   CHALLENGE ─▶            ◀─ HELLO with proof     WELCOME with proof ─▶
    slave             ─▶ HELLO …                             checks it, or leaves

The key of the pair is never sent. Both proofs are over both nonces and over what the slave says of
itself, so that neither can be sent again, or be turned round. Until a peer is known its frames are
small and its time is short.
"""

import hashlib
from typing import Final, NamedTuple, TypeVar, final

import trio

from broker_trio.broker.replication.refusals import RefusedPeerError
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.pair import StoreId
from broker_trio.runtime.seams import Entropy
from broker_trio.wire import replication as wire
from broker_trio.wire.replication import Buffer, Challenge, Hello, Message, Rejection, Welcome

READ_BYTES: Final = 256 << 10
JOIN_BYTES_MAX: Final = 64 << 10
HANDSHAKE_S: Final = 5.0

T = TypeVar("T")


class Who(NamedTuple):
    """What a replica says of itself."""

    cluster: str
    broker_name: str
    replica_id: int
    store_id: StoreId


@final
class Line:
    """Messages over a stream. One task receives, one sends."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._frames = wire.ReplicationFrames()
        self.peer_address: str = getattr(stream, "peer_address", "unknown:0")
        self.bytes_in = self.bytes_out = 0

    def trust(self) -> None:
        """The peer is known: frames may be as large as the format allows."""
        self._frames.frame_bytes_max = wire.FRAME_BYTES_MAX

    async def receive(self) -> Message | None:
        """The next message, None at the end of the stream.

        Raises `RemoteProtocolError`, `trio.BrokenResourceError`. Cancelled: nothing is lost.
        """
        while (message := self._frames.next_message()) is None:
            data = await self._stream.receive_some(READ_BYTES)
            if not data:
                return None
            self.bytes_in += len(data)
            self._frames.receive_data(data)
        return message

    async def hear(self, within_s: float) -> Message | None:
        """As `receive`; `RefusedPeerError` where the peer is silent for so long."""
        try:
            with trio.fail_after(within_s):
                return await self.receive()
        except trio.TooSlowError:
            raise RefusedPeerError(
                "timeout", f"nothing was heard of it for {within_s:g} s"
            ) from None

    async def expect(self, kind: type[T]) -> T:
        """The next message, which must be of that kind. Raises `RefusedPeerError` as well."""
        message = await self.receive()
        if isinstance(message, kind):
            return message
        if isinstance(message, Rejection):
            raise RefusedPeerError("role", f"the peer refuses: {message.reason[:300]}")
        if message is None:
            raise trio.BrokenResourceError("the peer closed the connection")
        raise RemoteProtocolError(f"{type(message).__name__} instead of {kind.__name__}")

    async def send(self, *parts: Buffer) -> None:
        """All of it. Raises `trio.BrokenResourceError`. Cancelled: the stream is of no more use."""
        size = sum(map(len, parts))
        if size <= JOIN_BYTES_MAX:
            await self._stream.send_all(b"".join(parts))
        else:
            for part in parts:
                await self._stream.send_all(part)
        self.bytes_out += size

    async def reject(self, text: str) -> None:
        """The last word; the peer may be gone."""
        with trio.move_on_after(1.0):
            try:
                await self.send(wire.encode(Rejection(text[:500])))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return


def nonce(entropy: Entropy, key: bytes, salt: bytes) -> bytes:
    """Never the same twice, and not to be foreseen without the key.

    Chance alone would do in the real world; a simulator's chance is known, the key still is not.
    """
    drawn = entropy.randbytes(wire.NONCE_BYTES)
    return hashlib.sha256(b"nonce" + key + drawn + salt).digest()


async def greet_slave(line: Line, key: bytes, who: Who, entropy: Entropy) -> Hello:
    """As a master: find out who is there. Raises `RefusedPeerError`, `RemoteProtocolError`."""
    challenge = Challenge(wire.VERSION, nonce(entropy, key, line.peer_address.encode()))
    await line.send(wire.encode(challenge))
    hello = await line.expect(Hello)
    if hello.version != wire.VERSION:
        text = f"it speaks version {hello.version} of the stream, this broker {wire.VERSION}"
        raise RefusedPeerError("version", text)
    if not wire.is_equal(hello.proof, wire.slave_proof(key, challenge, hello)):
        raise RefusedPeerError("key", "its proof is not made with this pair's key")
    if (hello.cluster, hello.broker_name) != (who.cluster, who.broker_name):
        text = (
            f"it belongs to {hello.cluster}/{hello.broker_name}, "
            f"this is {who.cluster}/{who.broker_name}"
        )
        raise RefusedPeerError("cluster", text)
    await line.send(wire.encode(Welcome(wire.master_proof(key, challenge, hello))))
    line.trust()
    return hello


async def greet_master(line: Line, key: bytes, who: Who, entropy: Entropy) -> None:
    """As a slave: say who we are, and see that the master knows the key too."""
    challenge = await line.expect(Challenge)
    if challenge.version != wire.VERSION:
        text = f"it speaks version {challenge.version} of the stream, this broker {wire.VERSION}"
        raise RefusedPeerError("version", text)
    own = nonce(entropy, key, who.store_id.encode())
    blank = Hello(wire.VERSION, *who, own, bytes(wire.PROOF_BYTES))
    hello = Hello(wire.VERSION, *who, own, wire.slave_proof(key, challenge, blank))
    await line.send(wire.encode(hello))
    welcome = await line.expect(Welcome)
    if not wire.is_equal(welcome.proof, wire.master_proof(key, challenge, hello)):
        raise RefusedPeerError("key", "the master's proof is not made with this pair's key")
    line.trust()
