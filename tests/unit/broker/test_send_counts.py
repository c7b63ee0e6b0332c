"""What a send adds to its topic's counters."""

from broker.fakes import FakeSession, request, running
from broker_trio.remoting.dispatch import Parked
from broker_trio.wire.batch import BatchItem, encode_batch
from broker_trio.wire.properties import format_properties


def send(broker, body: bytes, *, code: int = 310, **properties: str) -> None:
    fields = {
        "a": "P", "b": "T", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "1", "h": "0",
        "j": "0", "k": "false", "m": "true" if code == 320 else "false",
        "i": format_properties(properties).decode(),
    }  # fmt: skip
    result = broker.dispatcher.dispatch(request(code, fields, body, session=FakeSession()))
    assert isinstance(result, Parked) or result.code == 0, result
    broker.store.write_out()


async def test_sizes_and_delays_are_counted(autojump_clock):
    """Buckets by stored size, a batch by its mean; a delayed message counts in its own topic."""
    async with running() as broker:
        send(broker, b"x" * 100)
        send(broker, b"x" * 2_000)
        send(broker, b"x" * 5_000, DELAY="3")
        items = [BatchItem(0, b"y" * size, b"K\x01v\x02") for size in (10, 3_000)]
        send(broker, encode_batch(items), code=320)
        stats = broker.parts.stats.topic("T")
        assert (stats.puts, stats.sizes()) == (5, [1, 3, 1, 0, 0, 0, 0])
        assert stats.delayed is not None
        assert (stats.delayed.puts, stats.delayed.sizes()) == (1, [0, 0, 1, 0, 0, 0, 0])
        assert sum(broker.store.stats.put_times) == 5
