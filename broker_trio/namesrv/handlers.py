"""What brokers say and clients ask: requests in, the route table's answers out.

    brokers   103 104 322 904 217      move the table
    clients   105                      one topic's route, counted and timed
    tools     106 206 224 304 311-313 901    what the table shows

Handlers decode, ask the table (`routes.py`) or a view of it (`views.py`), and encode in the
serialisation that the request came in. They are plain functions: each is one transaction, in the
order in which requests arrived. The rest of the codes, what operators change, is in `admin.py`.
"""

import zlib
from typing import Any, Final, final

import structlog

from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused, RemoteProtocolError
from broker_trio.model.topic import DataVersion
from broker_trio.namesrv import views
from broker_trio.namesrv.hot import HotSwitches
from broker_trio.namesrv.kv import KeyValues
from broker_trio.namesrv.registration import MappingInfo, Registered, Registration
from broker_trio.namesrv.routes import RouteTable
from broker_trio.namesrv.stats import NameserverStats
from broker_trio.remoting.dispatch import Request, Response, Route
from broker_trio.runtime.seams import Clock
from broker_trio.wire.bodies import route as bodies
from broker_trio.wire.bodies import shape
from broker_trio.wire.bodies.register import decode_register_body
from broker_trio.wire.bodies.topic_config import decode_data_version, encode_data_version
from broker_trio.wire.headers import route as headers
from broker_trio.wire.headers.base import to_ext

log = structlog.get_logger("namesrv")

ORDER_NAMESPACE: Final = "ORDER_TOPIC_CONFIG"
BODY_BYTES_MAX: Final = 15 << 20  # a frame above 16 MiB would kill a Java client's connection


def answer(body: bytes) -> Response:
    """A body that fits a frame, or the refusal to send one that kills its reader."""
    if len(body) > BODY_BYTES_MAX:
        text = f"the answer has {len(body)} bytes, limit {BODY_BYTES_MAX} (BODY_BYTES_MAX)"
        raise Refused(ResponseCode.SYSTEM_ERROR, text)
    return Response(body=body)


@final
class BrokerRequests:
    """Registrations and signs of life."""

    def __init__(
        self,
        clock: Clock,
        table: RouteTable,
        kv: KeyValues,
        hot: HotSwitches,
        stats: NameserverStats,
    ) -> None:
        self._clock, self._table, self._kv = clock, table, kv
        self._hot, self._stats = hot, stats

    def routes(self) -> tuple[Route[Any], ...]:
        """The codes that brokers send."""
        return (
            Route(RequestCode.REGISTER_BROKER, headers.RegisterBrokerRequestHeader, self.register),
            Route(
                RequestCode.UNREGISTER_BROKER,
                headers.UnRegisterBrokerRequestHeader,
                self.unregister,
            ),
            Route(
                RequestCode.QUERY_DATA_VERSION,
                headers.QueryDataVersionRequestHeader,
                self.query_data_version,
            ),
            Route(
                RequestCode.BROKER_HEARTBEAT, headers.BrokerHeartbeatRequestHeader, self.heartbeat
            ),
            Route(
                RequestCode.REGISTER_TOPIC_IN_NAMESRV,
                headers.RegisterTopicRequestHeader,
                self.register_topic,
            ),
        )

    def register(self, request: Request, header: headers.RegisterBrokerRequestHeader) -> Response:
        """103. Refused: code 1 with the reason; ignored (step 3 of §2.2): success, nothing told."""
        command = request.command
        try:
            registered = self._register(request, header)
        except (Refused, RemoteProtocolError) as error:
            self._stats.registrations["rejected"] += 1
            log.warning(
                "broker.refused",
                broker=header.broker_name,
                peer=request.session.peer_address,
                reason=str(error),
            )
            raise
        self._stats.registrations[registered.result] += 1
        told = headers.RegisterBrokerResponseHeader(
            ha_server_addr=registered.ha_server_addr, master_addr=registered.master_addr
        )
        response = Response(ext=to_ext(told))
        order = self._kv.namespace(ORDER_NAMESPACE)
        if registered.result == "rejected":
            log.warning("broker.ignored", broker=header.broker_name, address=header.broker_addr)
        elif order is not None and self._hot.now.return_order_topic_config_to_broker:
            response.body = bodies.encode_kv_table(dict(order), command.serialize)
        return response

    def _register(
        self, request: Request, header: headers.RegisterBrokerRequestHeader
    ) -> Registered:
        command = request.command
        if header.body_crc32 and zlib.crc32(command.body) & 0x7FFFFFFF != header.body_crc32:
            raise Refused(ResponseCode.SYSTEM_ERROR, "crc32 not match")
        body = decode_register_body(
            command.body,
            command.serialize,
            version=command.version,
            compressed=header.compressed,
        )
        wrapper = body.topic_config_serialize_wrapper
        infos = {
            topic: shape.read(MappingInfo, info)
            for topic, info in wrapper.topic_queue_mapping_info_map.items()
        }
        new = Registration(
            cluster=header.cluster_name,
            broker_name=header.broker_name,
            broker_addr=header.broker_addr,
            broker_id=header.broker_id,
            session_id=request.session.id,
            ha_server_addr=header.ha_server_addr,
            heartbeat_timeout_ms=header.heartbeat_timeout_millis,
            enable_acting_master=header.enable_acting_master,
            zone_name=header.zone_name,
            data_version=wrapper.data_version,
            topics=wrapper.topic_config_table,
            mappings={t: i for t, i in infos.items() if i.bname == header.broker_name},
            delete_missing_topics=self._hot.now.delete_topic_with_broker_registration,
            store_id=header.store_id or "",
        )
        registered = self._table.register(new, self._clock.monotonic())
        if registered.result == "new":
            log.info(
                "broker.registered",
                cluster=new.cluster,
                broker=new.broker_name,
                broker_id=new.broker_id,
                address=new.broker_addr,
                topics=len(new.topics),
            )
        return registered

    def unregister(
        self, _request: Request, header: headers.UnRegisterBrokerRequestHeader
    ) -> Response:
        """104: always 0; done before the answer."""
        if self._table.unregister(header.broker_name, header.broker_addr):
            log.info("broker.unregistered", broker=header.broker_name, address=header.broker_addr)
        return Response()

    def query_data_version(
        self, request: Request, header: headers.QueryDataVersionRequestHeader
    ) -> Response:
        """322: whether the broker must register again. Without a body its version is all zero."""
        command = request.command
        told = DataVersion()
        if command.body:
            told = decode_data_version(command.body, command.serialize)
        changed, stored = self._table.query_data_version(
            header.cluster_name, header.broker_addr, told, self._clock.monotonic()
        )
        response = Response(ext=to_ext(headers.QueryDataVersionResponseHeader(changed=changed)))
        if stored is not None:
            response.body = encode_data_version(stored, command.serialize)
        return response

    def heartbeat(
        self, _request: Request, header: headers.BrokerHeartbeatRequestHeader
    ) -> Response:
        """904: a sign of life, of a registered broker or of nobody; always 0."""
        self._table.live.refresh(header.cluster_name, header.broker_addr, self._clock.monotonic())
        return Response()

    def register_topic(
        self, request: Request, header: headers.RegisterTopicRequestHeader
    ) -> Response:
        """217: only `queueDatas` of the body count."""
        command = request.command
        if not command.body:
            raise Refused(ResponseCode.SYSTEM_ERROR, "no TopicRouteData in the body")
        told = bodies.decode_route(command.body, command.serialize)
        self._table.register_topic(header.topic, told.queue_datas)
        return Response()


@final
class RouteRequests:
    """Routes for clients, lists for tools. Nothing here changes the table."""

    def __init__(
        self,
        clock: Clock,
        table: RouteTable,
        kv: KeyValues,
        hot: HotSwitches,
        stats: NameserverStats,
        *,
        not_ready_s: float,
    ) -> None:
        self._clock, self._table, self._kv = clock, table, kv
        self._hot, self._stats = hot, stats
        self._ready_at = clock.monotonic() + not_ready_s

    def routes(self) -> tuple[Route[Any], ...]:
        """The codes that read the table."""
        return (
            Route(
                RequestCode.GET_ROUTEINFO_BY_TOPIC,
                headers.GetRouteInfoRequestHeader,
                self.route,
                processor="route",
            ),
            Route(RequestCode.GET_BROKER_CLUSTER_INFO, None, self.cluster_info),
            Route(RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER, None, self.all_topics),
            Route(
                RequestCode.GET_TOPICS_BY_CLUSTER,
                headers.GetTopicsByClusterRequestHeader,
                self.topics_of_cluster,
            ),
            Route(RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_NS, None, self.system_topics),
            Route(RequestCode.GET_UNIT_TOPIC_LIST, None, self.unit_topics),
            Route(RequestCode.GET_HAS_UNIT_SUB_TOPIC_LIST, None, self.unit_sub_topics),
            Route(
                RequestCode.GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, None, self.unit_sub_ununit_topics
            ),
            Route(
                RequestCode.GET_BROKER_MEMBER_GROUP,
                headers.GetBrokerMemberGroupRequestHeader,
                self.member_group,
            ),
        )

    def route(self, request: Request, header: headers.GetRouteInfoRequestHeader) -> Response:
        """105. Old clients get bare numeric keys, see `wants_standard_json`."""
        command, hot = request.command, self._hot.now
        if hot.need_wait_for_service and self._clock.monotonic() < self._ready_at:
            raise Refused(ResponseCode.SYSTEM_ERROR, "name server not ready")
        order = self._kv.get(ORDER_NAMESPACE, header.topic) if hot.order_message_enable else None
        found = views.pick_route(
            self._table,
            header.topic,
            order_topic_conf=order,
            acting_master=hot.support_acting_master,
        )
        if found is None:
            self._stats.route_not_found += 1
            response = Response(
                ResponseCode.TOPIC_NOT_EXIST,
                f"no route for the topic {header.topic}: no registered broker has it",
            )
        else:
            self._stats.route_found += 1
            standard = bodies.wants_standard_json(
                command.version, accept_standard_json_only=header.accept_standard_json_only
            )
            response = answer(bodies.encode_route(found, command.serialize, standard=standard))
        self._stats.route_duration.observe(self._clock.monotonic() - request.received)
        return response

    def cluster_info(self, request: Request, _header: object) -> Response:
        """106."""
        brokers, clusters = views.cluster_info(self._table)
        info = bodies.ClusterInfo(brokers, clusters)
        return answer(bodies.encode_cluster_info(info, request.command.serialize))

    def all_topics(self, request: Request, _header: object) -> Response:
        """206."""
        if not self._hot.now.enable_all_topic_list:
            raise Refused(ResponseCode.SYSTEM_ERROR, "disable")
        return self._topic_list(request, self._table.topics.names())

    def topics_of_cluster(
        self, request: Request, header: headers.GetTopicsByClusterRequestHeader
    ) -> Response:
        """224."""
        self._check_lists()
        return self._topic_list(request, views.topics_of_cluster(self._table, header.cluster))

    def system_topics(self, request: Request, _header: object) -> Response:
        """304."""
        names, address = views.system_topics(self._table)
        return self._topic_list(request, names, address)

    def unit_topics(self, request: Request, _header: object) -> Response:
        """311."""
        self._check_lists()
        return self._topic_list(request, views.unit_topics(self._table, wanted=views.UNIT))

    def unit_sub_topics(self, request: Request, _header: object) -> Response:
        """312."""
        self._check_lists()
        return self._topic_list(request, views.unit_topics(self._table, wanted=views.UNIT_SUB))

    def unit_sub_ununit_topics(self, request: Request, _header: object) -> Response:
        """313."""
        self._check_lists()
        topics = views.unit_topics(self._table, wanted=views.UNIT_SUB, unwanted=views.UNIT)
        return self._topic_list(request, topics)

    def member_group(
        self, request: Request, header: headers.GetBrokerMemberGroupRequestHeader
    ) -> Response:
        """901: an unknown name is a group without addresses, not an error."""
        found = views.member_group(self._table, header.cluster_name, header.broker_name)
        group = bodies.BrokerMemberGroup(found.cluster, found.broker_name, found.broker_addrs)
        return answer(bodies.encode_broker_member_group(group, request.command.serialize))

    def _check_lists(self) -> None:
        if not self._hot.now.enable_topic_list:
            raise Refused(ResponseCode.SYSTEM_ERROR, "disable")

    @staticmethod
    def _topic_list(
        request: Request, topics: list[str], broker_addr: str | None = None
    ) -> Response:
        serialize = request.command.serialize
        return answer(bodies.encode_topic_list(topics, serialize, broker_addr=broker_addr))
