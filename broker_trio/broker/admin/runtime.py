"""The broker itself: its configuration (25, 26), its state (28, 315), a client's question (46).

What may change at run time is exactly the struct `Settings`. Names that stand for a path, a command
or an address are refused with 16 whatever their value; a known name that is not changeable is
refused with 1, since answering 0 and doing nothing would be a lie; unknown names are ignored, as
RocketMQ does. Three requests for cleaning (306, 316, 329) are answered 0: retention does their work
by itself every few seconds.
"""

import re
from typing import Any, Final, final

import msgspec
import structlog

from broker_trio.broker.admin import runtime_table
from broker_trio.broker.config import BrokerConfig
from broker_trio.broker.registrar import Identity
from broker_trio.broker.replication.slave_service import SlaveService
from broker_trio.broker.schedule import Schedule
from broker_trio.broker.settings import Settings
from broker_trio.broker.stats import BrokerStats, Span
from broker_trio.broker.topics import Topics
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.subscription import TAG
from broker_trio.remoting.dispatch import Later, Request, Response, Route
from broker_trio.runtime.seams import Clock, Disk
from broker_trio.store.store import Store
from broker_trio.wire.bodies.client import decode_check_client_config
from broker_trio.wire.bodies.route import encode_kv_table
from broker_trio.wire.bodies.stats import BrokerStatsData, BrokerStatsItem, encode_broker_stats
from broker_trio.wire.bodies.topic_config import encode_data_version
from broker_trio.wire.command import Serialize
from broker_trio.wire.headers.admin import (
    GetBrokerConfigResponseHeader,
    ViewBrokerStatsDataRequestHeader,
)
from broker_trio.wire.headers.base import to_ext
from broker_trio.wire.record import store_timestamp_of

log = structlog.get_logger()

CONFIG_BYTES_MAX: Final = 64 << 10
BLACK_LISTED: Final = re.compile(
    r"path|dir$|home|command|addr|host|brokerIP|listenPort|BlackList|credential|secret",
    re.IGNORECASE,
)
"""Names that stand for a path, a command, an address or a secret."""
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
SIZES: Final = {"TOPIC_PUT_SIZE": "TOPIC_PUT_NUMS", "GROUP_GET_SIZE": "GROUP_GET_NUMS"}


@final
class RuntimeAdmin:
    """What tools and exporters ask about the broker as a whole."""

    def __init__(
        self,
        disk: Disk,
        store: Store,
        clock: Clock,
        topics: Topics,
        schedule: Schedule,
        stats: BrokerStats,
        settings: Settings,
        config: BrokerConfig,
        identity: Identity,
    ) -> None:
        self._disk, self._store, self._clock, self._topics = disk, store, clock, topics
        self._schedule, self._stats, self._settings = schedule, stats, settings
        self._config, self._identity = config, identity
        self.replica: SlaveService | None = None

    def routes(self) -> tuple[Route[Any], ...]:
        code = RequestCode
        nothing = "answered 0; retention does it by itself"
        return (
            Route(code.UPDATE_BROKER_CONFIG, None, self.update_config, note="the hot settings"),
            Route(code.GET_BROKER_CONFIG, None, self.get_config),
            Route(code.GET_BROKER_RUNTIME_INFO, None, self.runtime_info),
            Route(code.VIEW_BROKER_STATS_DATA, ViewBrokerStatsDataRequestHeader, self.stats_data),
            Route(code.CHECK_CLIENT_CONFIG, None, self.check_client, processor="heartbeat"),
            Route(code.CLEAN_EXPIRED_CONSUMEQUEUE, None, self.cleaned, "partial", nothing),
            Route(code.CLEAN_UNUSED_TOPIC, None, self.cleaned, "partial", nothing),
            Route(code.DELETE_EXPIRED_COMMITLOG, None, self.cleaned, "partial", nothing),
        )

    # -- configuration -------------------------------------------------------------------------

    def properties(self) -> dict[str, str]:
        """What tools read, under Apache's names."""
        host, _, port = self._identity.address.rpartition(":")
        config, store = self._config, self._config.store
        table = {
            "brokerClusterName": config.cluster_name,
            "brokerName": config.broker_name,
            "brokerId": str(self.replica.broker_id if self.replica else config.broker_id),
            "brokerRole": self.replica.broker_role if self.replica else "ASYNC_MASTER",
            "brokerIP1": host.strip("[]"),
            "listenPort": port,
            "namesrvAddr": ";".join(config.nameservers),
            "regionId": config.region_id,
            "traceOn": str(config.trace_on).lower(),
            "flushDiskType": store.flush_disk_type,
            "fileReservedTime": str(store.retention_hours),
            "deleteWhen": ";".join(f"{hour:02}" for hour in store.delete_when_hours),
            "maxMessageSize": str(store.message_size_max),
            "mappedFileSizeCommitLog": str(store.commit_log_segment_bytes),
            "diskMaxUsedSpaceRatio": str(round(store.disk_used_ratio_delete * 100)),
            "messageDelayLevel": "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h",
        }
        for field in msgspec.structs.fields(Settings):
            value = getattr(self._settings, field.name)
            table[field.encode_name] = str(value).lower() if isinstance(value, bool) else str(value)
        return dict(sorted(table.items()))

    def get_config(self, _request: Request, _header: None) -> Response:
        """26."""
        text = "".join(f"{name}={value}\n" for name, value in self.properties().items())
        version = encode_data_version(self._topics.data_version, Serialize.JSON).decode()
        return Response(
            ext=to_ext(GetBrokerConfigResponseHeader(version=version)), body=text.encode()
        )

    def update_config(self, request: Request, _header: None) -> Response:
        """25: all of the given settings, or none."""
        changes = parse_properties_text(request.command.body)
        present = self.properties()
        for name, value in changes.items():
            if BLACK_LISTED.search(name):
                raise Refused(ResponseCode.NO_PERMISSION, f"{name} can not be changed by a request")
            if name in present and name not in HOT and present[name] != value:
                raise Refused(
                    ResponseCode.SYSTEM_ERROR,
                    f"{name} is read at start only; these may change: {', '.join(sorted(HOT))}",
                )
        wanted = {name: value for name, value in changes.items() if name in HOT}
        fresh = {HOT[name][0]: _converted(name, value) for name, value in wanted.items()}
        for attribute, setting in fresh.items():
            setattr(self._settings, attribute, setting)
        if wanted:
            log.info("broker.settings_changed", peer=request.session.peer_address, **wanted)
        if "auto_create_topic_enable" in fresh:
            self._topics.create_system_topics(self._config.cluster_name, self._config.broker_name)
        if "default_topic_queue_nums" in fresh:
            self._topics.resize_template()
        if "broker_permission" in fresh:
            self._topics.touch()
        return Response()

    # -- state ---------------------------------------------------------------------------------

    def runtime_info(self, request: Request, _header: None) -> Later:
        """28."""
        serialize = request.command.serialize

        async def later() -> Response:
            first = await self._store.reader.record_at(self._store.log.min_offset)
            earliest = -1 if first is None else store_timestamp_of(first)
            uptime = int(self._clock.monotonic() - self._stats.started)
            table = {
                **runtime_table.process(
                    self._stats.boot_timestamp_ms, uptime, active=self._config.broker_id == 0
                ),
                **runtime_table.traffic(self._stats, self._store.stats.put_ms_max),
                **runtime_table.storage(self._store, self._disk.usage(), earliest),
                **runtime_table.schedule(self._schedule.progress()),
            }
            return Response(body=encode_kv_table(table, serialize))

        return later

    def stats_data(self, request: Request, header: ViewBrokerStatsDataRequestHeader) -> Response:
        """315: one counter over a minute, an hour and a day; 1 where it never moved."""
        name, key = header.stats_name, header.stats_key
        if name.startswith("BROKER_") and key == self._config.cluster_name:
            key = ""
        if not self._stats.has(name, key):
            raise Refused(
                ResponseCode.SYSTEM_ERROR, f"The stats <{name}> <{header.stats_key}> not exist"
            )
        items = [self._item(name, key, seconds) for seconds in (MINUTE_S, HOUR_S, DAY_S)]
        return Response(
            body=encode_broker_stats(BrokerStatsData(*items), request.command.serialize)
        )

    def _item(self, name: str, key: str, seconds: float) -> BrokerStatsItem:
        span = self._stats.span(name, key, seconds)
        events: Span = self._stats.span(SIZES.get(name, name), key, seconds)
        average = span.sum / events.sum if events.sum else 0.0
        return BrokerStatsItem(int(span.sum), round(span.rate, 3), round(average, 3))

    def check_client(self, request: Request, _header: None) -> Response:
        """46: can the broker filter by this expression? Tags yes, SQL92 not."""
        command = request.command
        subscription = decode_check_client_config(command.body, command.serialize).subscription_data
        if subscription is not None and subscription.expression_type not in {TAG, ""}:
            raise Refused(
                ResponseCode.SYSTEM_ERROR,
                "The broker does not support consumer to filter message by "
                f"{subscription.expression_type}",
            )
        return Response()

    def cleaned(self, _request: Request, _header: None) -> Response:
        """306, 316 and 329."""
        return Response()


HOT: Final = {
    field.encode_name: (field.name, field.type) for field in msgspec.structs.fields(Settings)
}
"""Wire name → attribute and type of what request 25 may change."""


def parse_properties_text(data: bytes) -> dict[str, str]:
    """`name=value` lines; comments and blank lines are skipped. Raises `Refused` 1."""
    if len(data) > CONFIG_BYTES_MAX:
        raise Refused(
            ResponseCode.SYSTEM_ERROR,
            f"{len(data)} bytes of configuration, {CONFIG_BYTES_MAX} allowed",
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Refused(
            ResponseCode.SYSTEM_ERROR, f"the configuration is not UTF-8: {error}"
        ) from None
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith(("#", "!")):
            found[name.strip()] = value.strip()
    return found


def _converted(name: str, value: str) -> object:
    """The value in the setting's type. Raises `Refused` 1."""
    kind = HOT[name][1]
    try:
        converted: object = msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(ResponseCode.SYSTEM_ERROR, f"{name}: {error}") from error
    if name == "brokerPermission" and converted not in {2, 4, 6}:
        raise Refused(ResponseCode.SYSTEM_ERROR, f"{name} is 2 (write), 4 (read) or 6 (both)")
    if name == "defaultTopicQueueNums" and not (
        isinstance(converted, int) and 1 <= converted <= 1024
    ):
        raise Refused(ResponseCode.SYSTEM_ERROR, f"{name} is 1 to 1024")
    return converted
