"""The texts of runtime information (request 28), which three programs take apart by position.

rocketmq-exporter drops a broker's whole sample where one key is missing or spelt another way, so
the forms below are a contract; mqadmin and the dashboard read parts of them:

    runtime               [ 0 days, 1 hours, 2 minutes, 3 seconds ]
    …Tps                  10s 60s 600s           three doubles
    commitLogDirCapacity  Total : 98.4 GiB, Free : 50.1 GiB.
    putMessageDistributeTime  [<=0ms]:n [0~10ms]:n … [10s~]:n     (a blank behind each)
    scheduleMessageOffset_n   next to deliver,end of the queue
"""

from collections.abc import Iterable
from typing import Final

from broker_trio import __version__
from broker_trio.broker.schedule import Progress
from broker_trio.broker.stats import PUT_TIME, BrokerStats
from broker_trio.runtime.seams import Usage
from broker_trio.store.store import Store
from broker_trio.wire.command import OUR_VERSION

VERSION_NAME: Final = "V5_3_4"  # of OUR_VERSION
PUT_TIMES: Final = (
    "<=0ms", "0~10ms", "10~50ms", "50~100ms", "100~200ms", "200~500ms", "500ms~1s",
    "1~2s", "2~3s", "3~4s", "4~5s", "5~10s", "10s~",
)  # fmt: skip
POOLS: Final = (
    "sendThreadPool",
    "pullThreadPool",
    "queryThreadPool",
    "litePullThreadPool",
    "ackThreadPool",
)
UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def human_bytes(size: int) -> str:
    """`0 B`, `1.5 KiB`: number, blank, unit."""
    value, unit = float(max(size, 0)), 0
    while value >= 1024 and unit < len(UNITS) - 1:
        value /= 1024
        unit += 1
    return f"{value:.0f} B" if unit == 0 else f"{value:.1f} {UNITS[unit]}"


def human_time(seconds: int) -> str:
    """The form of `runtime`."""
    minutes, second = divmod(max(seconds, 0), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"[ {days} days, {hour} hours, {minute} minutes, {second} seconds ]"


def capacity(usage: Usage) -> str:
    return f"Total : {human_bytes(usage.total)}, Free : {human_bytes(usage.free)}."


def used_ratio(usage: Usage) -> float:
    return 0.0 if usage.total <= 0 else 1 - usage.free / usage.total


def tps(stats: BrokerStats, *counters: str) -> str:
    """Messages a second over 10 s, 60 s and 600 s."""
    rates = (
        sum(stats.span(name, "", seconds).rate for name in counters)
        for seconds in (10.0, 60.0, 600.0)
    )
    return " ".join(repr(round(rate, 3)) for rate in rates)


def traffic(stats: BrokerStats, put_ms_max: float = 0.0) -> dict[str, str]:
    """What was put and got. `put_ms_max`: the longest put since the start.

    A message's put is the write that brought it to the page cache, with others of its read; waiting
    for a flush is no part of it, as with RocketMQ. The distribution is of the last minute.
    """
    totals = stats.totals
    average = totals.put_bytes / totals.puts if totals.puts else 0.0
    counts = [int(stats.span(name, "", 60.0).sum) for name in PUT_TIME]
    return {
        "putTps": tps(stats, "BROKER_PUT_NUMS"),
        "getFoundTps": tps(stats, "PULL_FOUND"),
        "getMissTps": tps(stats, "PULL_MISS"),
        "getTotalTps": tps(stats, "PULL_FOUND", "PULL_MISS"),
        "getTransferredTps": tps(stats, "BROKER_GET_NUMS"),
        "getTransferedTps": tps(stats, "BROKER_GET_NUMS"),
        "putMessageTimesTotal": str(max(totals.puts, 1)),
        "putMessageSizeTotal": str(totals.put_bytes),
        "putMessageAverageSize": repr(round(average, 3)),
        "putMessageEntireTimeMax": str(int(put_ms_max)),
        "getMessageEntireTimeMax": "0",
        "putMessageDistributeTime": "".join(
            f"[{name}]:{count} " for name, count in zip(PUT_TIMES, counts, strict=True)
        ),
        "msgPutTotalYesterdayMorning": str(stats.yesterday.puts),
        "msgPutTotalTodayMorning": str(stats.morning.puts),
        "msgPutTotalTodayNow": str(totals.puts),
        "msgGetTotalYesterdayMorning": str(stats.yesterday.gets),
        "msgGetTotalTodayMorning": str(stats.morning.gets),
        "msgGetTotalTodayNow": str(totals.gets),
    }


def storage(store: Store, usage: Usage, earliest_ms: int) -> dict[str, str]:
    """The log and its disk."""
    log, ratio = store.log, repr(round(used_ratio(usage), 6))
    return {
        "dispatchMaxBuffer": "0",
        "dispatchBehindBytes": str(max(log.max_offset - store.queues.dispatched_offset, 0)),
        "putMessageFailedTimes": str(sum(store.stats.refused.values())),
        "commitLogMinOffset": str(log.min_offset),
        "commitLogMaxOffset": str(log.max_offset),
        "commitLogDirCapacity": capacity(usage),
        "commitLogDiskRatio": ratio,
        "consumeQueueDiskRatio": ratio,
        "remainHowManyDataToFlush": human_bytes(log.max_offset - log.flushed_offset),
        "remainHowManyDataToCommit": human_bytes(0),
        "earliestMessageTimeStamp": str(earliest_ms),
        "pageCacheLockTimeMills": "0",
        "remainTransientStoreBufferNumbs": "0",
    }


def process(boot_timestamp_ms: int, uptime_s: int, *, active: bool) -> dict[str, str]:
    """The program itself. There are no thread pools: their queues are empty."""
    table = {
        "brokerTrioVersion": __version__,  # Apache's have none: who asks knows that we are not it
        "brokerVersionDesc": VERSION_NAME,
        "brokerVersion": str(OUR_VERSION),
        "bootTimestamp": str(boot_timestamp_ms),
        "startAcceptSendRequestTimeStamp": "0",
        "runtime": human_time(uptime_s),
        "brokerActive": "true" if active else "false",
        "EndTransactionQueueSize": "0",
        "EndTransactionThreadPoolQueueCapacity": "0",
        "timerReadBehind": "0",
        "timerOffsetBehind": "0",
        "timerCongestNum": "0",
        "timerEnqueueTps": "0.0",
        "timerDequeueTps": "0.0",
    }
    for pool in POOLS:
        table[f"{pool}QueueSize"] = "0"
        table[f"{pool}QueueCapacity"] = "0"
        table[f"{pool}QueueHeadWaitTimeMills"] = "0"
    return table


def schedule(levels: Iterable[Progress]) -> dict[str, str]:
    return {
        f"scheduleMessageOffset_{one.level}": f"{one.offset},{one.max_offset}" for one in levels
    }
