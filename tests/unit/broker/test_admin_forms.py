"""Texts that tools take apart by position, and the settings that they may change."""

import pytest

from broker_trio.broker.admin import runtime_table
from broker_trio.broker.admin.runtime import BLACK_LISTED, HOT, parse_properties_text
from broker_trio.broker.admin.topics import merged_attributes, parse_attributes
from broker_trio.broker.stats import BrokerStats
from broker_trio.model.errors import Refused
from broker_trio.runtime.seams import Usage
from broker_trio.store.stats import StoreStats
from broker_trio.testing.sim_clock import ManualClock


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 40, "1.0 TiB"), (-5, "0 B")],
)
def test_sizes_are_number_blank_unit(size, text):
    """The exporter splits them at the blank."""
    assert runtime_table.human_bytes(size) == text


def test_uptime_and_capacity_have_their_places():
    """mqadmin and the exporter take words 2, 3, 6 and 7 of the capacity."""
    assert runtime_table.human_time(90_061) == "[ 1 days, 1 hours, 1 minutes, 1 seconds ]"
    words = runtime_table.capacity(Usage(total=100 << 30, free=50 << 30)).split(" ")
    assert (words[2], words[3], words[6], words[7]) == ("100.0", "GiB,", "50.0", "GiB.")


def test_the_distribution_of_put_times_parses_as_the_exporter_does_it():
    """Thirteen classes, `[name]:count` each, integers."""
    stats = BrokerStats(ManualClock())
    text = runtime_table.traffic(stats)["putMessageDistributeTime"]
    pairs = [piece.split(":") for piece in text.split(" ") if piece]
    assert len(pairs) == 13
    assert all(name[0] == "[" and name[-1] == "]" and count.isdigit() for name, count in pairs)


def test_put_times_are_of_the_last_minute_and_the_maximum_of_all():
    """Each message of a batch took as long as the write that brought all of them in."""
    clock, store = ManualClock(), StoreStats()
    stats = BrokerStats(clock)
    stats.put_times = store.put_times
    store.put(9, 1.0)
    for _ in range(7):
        clock.advance(10)
        stats.tick(clock.monotonic())
    for count, seconds in ((3, 0.0004), (5, 0.002), (2, 0.01), (1, 0.6), (4, 99.0)):
        store.put(count, seconds)
    clock.advance(10)
    stats.tick(clock.monotonic())
    table = runtime_table.traffic(stats, store.put_ms_max)
    assert table["putMessageEntireTimeMax"] == "99000"
    text = table["putMessageDistributeTime"]
    counts = dict(piece.split(":") for piece in text.split(" ") if piece)
    assert {name: count for name, count in counts.items() if count != "0"} == {
        "[<=0ms]": "3", "[0~10ms]": "7", "[500ms~1s]": "1", "[10s~]": "4",
    }  # fmt: skip


def test_rates_are_three_doubles_and_every_number_parses():
    """One unreadable value costs rocketmq-exporter the broker's whole sample."""
    table = runtime_table.traffic(BrokerStats(ManualClock()))
    for name, value in table.items():
        if name.endswith("Tps"):
            assert len([float(part) for part in value.split(" ")]) == 3
    assert int(table["putMessageTimesTotal"]) >= 1
    assert float(table["putMessageAverageSize"]) == 0.0


def test_attributes_are_set_and_removed_by_sign():
    """What is stored has no sign; what is not named stays."""
    present = {"message.type": "FIFO", "reserve.time": "5"}
    changes = parse_attributes("+message.type=NORMAL,-reserve.time")
    assert merged_attributes(present, changes) == {"message.type": "NORMAL"}
    assert merged_attributes(present, {}) == present
    assert merged_attributes({}, {"message.type": "DELAY"}) == {"message.type": "DELAY"}


@pytest.mark.parametrize(
    "text",
    [
        "message.type=FIFO", "+message.type", "+color=red", "+message.type=LOUD", "+reserve.time=x",
        "+reserve.time=-2", "+queue.type=BatchCQ", "+cleanup.policy=COMPACTION",
        "+message.type=FIFO,+message.type=FIFO",
    ],
)  # fmt: skip
def test_attributes_that_no_topic_here_can_have_are_refused(text):
    """Unknown names, values out of range, and kinds of topics that this broker cannot store."""
    with pytest.raises(Refused) as caught:
        merged_attributes({}, parse_attributes(text))
    assert caught.value.code == 1


def test_no_changeable_setting_is_black_listed():
    """The two lists do not contradict each other, and nothing with a path or address is hot."""
    assert not [name for name in HOT if BLACK_LISTED.search(name)]
    for name in ("storePathRootDir", "brokerIP1", "namesrvAddr", "rocketmqHome", "configBlackList"):
        assert BLACK_LISTED.search(name)


def test_properties_text_is_read_leniently_and_bounded():
    """Comments and blank lines pass, bytes that are no text are refused."""
    text = b"# c\n\n brokerPermission = 4 \nx=a=b\nnonsense\n"
    assert parse_properties_text(text) == {"brokerPermission": "4", "x": "a=b"}
    for data in (b"\xff\xfe=1", b"a=" + b"x" * (64 << 10)):
        with pytest.raises(Refused):
            parse_properties_text(data)
