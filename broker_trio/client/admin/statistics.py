"""What a broker counts and how it is set: runtime information, counters, settings.

runtime      28      texts by name, as RocketMQ's tools know them
counter     315      one counter over the last minute, hour and day
settings     26 25   what is set; what may change while the broker runs
writing     205 327  take a broker's write permission away at the nameservers, or give it back
"""

from collections.abc import Mapping
from typing import NamedTuple, final

from broker_trio.client.admin.brokers import Brokers
from broker_trio.client.calls import Calls, number_of
from broker_trio.client.errors import BrokerRefused
from broker_trio.client.routes import Nameservers
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.wire.bodies.route import decode_kv_table
from broker_trio.wire.bodies.stats import BrokerStatsData, decode_broker_stats
from broker_trio.wire.headers.admin import ViewBrokerStatsDataRequestHeader
from broker_trio.wire.headers.route import (
    AddWritePermOfBrokerRequestHeader,
    WipeWritePermOfBrokerRequestHeader,
)


class Summary(NamedTuple):
    """The numbers of runtime information that people look for; None for what a broker hides."""

    version: str
    puts_per_s: float | None
    gets_per_s: float | None
    puts_today: int | None
    gets_today: int | None
    disk_used_ratio: float | None
    behind_bytes: int | None
    boot_ms: int | None

    @classmethod
    def of(cls, info: Mapping[str, str]) -> "Summary":
        """Taken out of runtime information, of our brokers or Apache's."""
        moved = info.get("getTransferredTps", info.get("getTransferedTps", ""))
        return cls(
            version=version_of(info),
            puts_per_s=first_number(info.get("putTps", "")),
            gets_per_s=first_number(moved),
            puts_today=_int(info.get("msgPutTotalTodayNow", "")),
            gets_today=_int(info.get("msgGetTotalTodayNow", "")),
            disk_used_ratio=first_number(info.get("commitLogDiskRatio", ""), digits=4),
            behind_bytes=_int(info.get("dispatchBehindBytes", "")),
            boot_ms=_int(info.get("bootTimestamp", "")),
        )


def version_of(info: Mapping[str, str]) -> str:
    """`0.1.0 (as V5_3_4)` of ours, `V5_3_4` of Apache's: what it is, and what it speaks as."""
    spoken, ours = info.get("brokerVersionDesc", ""), info.get("brokerTrioVersion", "")
    return f"{ours} (as {spoken})" if ours else spoken


def first_number(text: str, *, digits: int = 1) -> float | None:
    """The first of the three rates that runtime info joins with spaces: the last ten seconds."""
    words = text.split()
    try:
        return round(float(words[0]), digits) if words else None
    except ValueError:
        return None


def _int(text: str) -> int | None:
    return int(text) if text.removeprefix("-").isdecimal() else None


@final
class Statistics:
    """Counters and settings of the brokers of one cluster. Brokers are named, or host:port."""

    def __init__(self, calls: Calls, nameservers: Nameservers, brokers: Brokers) -> None:
        self._calls, self._nameservers, self._brokers = calls, nameservers, brokers

    async def runtime(self, broker: str) -> dict[str, str]:
        """What the broker says of itself. Raises `NoSuchBroker`."""
        address = await self._brokers.address_of(broker)
        answer = await self._calls.ask(address, RequestCode.GET_BROKER_RUNTIME_INFO)
        return decode_kv_table(answer.body, answer.serialize)

    async def counter(self, broker: str, name: str, key: str) -> BrokerStatsData:
        """One counter, as `TOPIC_PUT_NUMS` of a topic; all zero where it never moved."""
        address = await self._brokers.address_of(broker)
        header = ViewBrokerStatsDataRequestHeader(stats_name=name, stats_key=key)
        try:
            answer = await self._calls.ask(address, RequestCode.VIEW_BROKER_STATS_DATA, header)
        except BrokerRefused as refusal:
            if refusal.code == ResponseCode.SYSTEM_ERROR:
                return BrokerStatsData()
            raise
        return decode_broker_stats(answer.body, answer.serialize)

    async def settings(self, broker: str) -> dict[str, str]:
        """The broker's settings, under RocketMQ's names."""
        address = await self._brokers.address_of(broker)
        answer = await self._calls.ask(address, RequestCode.GET_BROKER_CONFIG)
        lines = (line.partition("=") for line in answer.body.decode(errors="replace").splitlines())
        return {name.strip(): value.strip() for name, equals, value in lines if equals}

    async def change_settings(self, broker: str, changes: Mapping[str, str]) -> None:
        """All of these, until the broker's next start. Raises `BrokerRefused` for what is read at
        start only (1) or never by request (16)."""
        address = await self._brokers.address_of(broker)
        body = "".join(f"{name}={value}\n" for name, value in changes.items()).encode()
        await self._calls.ask(address, RequestCode.UPDATE_BROKER_CONFIG, body=body)

    async def let_write(self, broker_name: str, *, writable: bool) -> dict[str, int]:
        """Let producers write to this broker name, or not: at every nameserver, until the broker
        registers a change. Gives the number of topics changed, by nameserver."""
        found = {}
        for address in self._nameservers.addresses:
            if writable:
                answer = await self._calls.ask(
                    address,
                    RequestCode.ADD_WRITE_PERM_OF_BROKER,
                    AddWritePermOfBrokerRequestHeader(broker_name=broker_name),
                )
                found[address] = number_of(answer, "addTopicCount", 0)
            else:
                answer = await self._calls.ask(
                    address,
                    RequestCode.WIPE_WRITE_PERM_OF_BROKER,
                    WipeWritePermOfBrokerRequestHeader(broker_name=broker_name),
                )
                found[address] = number_of(answer, "wipeTopicCount", 0)
        return found
