"""What operators change through tools: key-value settings, permissions, topics, switches.

100 101 102 219    key-value settings; a change answers 0 once it is on disk
205 327 216        the route table, by hand
318 319            hot switches; the configuration as text
"""

from typing import Any, Final, final

import structlog

from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.namesrv.config import NameserverConfig
from broker_trio.namesrv.handlers import answer
from broker_trio.namesrv.hot import HotSwitches
from broker_trio.namesrv.kv import FILE, KeyValues
from broker_trio.namesrv.routes import RouteTable
from broker_trio.remoting.dispatch import Later, Request, Response, Route
from broker_trio.wire.bodies.config_text import format_config, parse_config
from broker_trio.wire.bodies.route import encode_kv_table
from broker_trio.wire.headers import route as headers
from broker_trio.wire.headers.base import to_ext

log = structlog.get_logger("namesrv")

KEY_CHARS_MAX: Final = 128  # of a key that an answer repeats


@final
class AdminRequests:
    """Requests that change what was configured. `config` is shown by 319, never changed."""

    def __init__(
        self, table: RouteTable, kv: KeyValues, hot: HotSwitches, config: NameserverConfig
    ) -> None:
        self._table, self._kv, self._hot, self._config = table, kv, hot, config

    def routes(self) -> tuple[Route[Any], ...]:
        """The codes that tools send."""
        return (
            Route(RequestCode.PUT_KV_CONFIG, headers.PutKVConfigRequestHeader, self.put_kv),
            Route(RequestCode.GET_KV_CONFIG, headers.GetKVConfigRequestHeader, self.get_kv),
            Route(
                RequestCode.DELETE_KV_CONFIG, headers.DeleteKVConfigRequestHeader, self.delete_kv
            ),
            Route(
                RequestCode.GET_KVLIST_BY_NAMESPACE,
                headers.GetKVListByNamespaceRequestHeader,
                self.get_kv_list,
            ),
            Route(
                RequestCode.WIPE_WRITE_PERM_OF_BROKER,
                headers.WipeWritePermOfBrokerRequestHeader,
                self.wipe_write_perm,
            ),
            Route(
                RequestCode.ADD_WRITE_PERM_OF_BROKER,
                headers.AddWritePermOfBrokerRequestHeader,
                self.add_write_perm,
            ),
            Route(
                RequestCode.DELETE_TOPIC_IN_NAMESRV,
                headers.DeleteTopicFromNamesrvRequestHeader,
                self.delete_topic,
            ),
            Route(
                RequestCode.UPDATE_NAMESRV_CONFIG,
                None,
                self.update_config,
                support="partial",
                note="switches of [hot] only",
            ),
            Route(RequestCode.GET_NAMESRV_CONFIG, None, self.get_config),
        )

    def put_kv(self, _request: Request, header: headers.PutKVConfigRequestHeader) -> Later:
        """100."""

        async def later() -> Response:
            await self._kv.put(header.namespace, header.key, header.value)
            log.info("kv.put", namespace=header.namespace, key=header.key)
            return Response()

        return later

    def delete_kv(self, _request: Request, header: headers.DeleteKVConfigRequestHeader) -> Later:
        """102: 0 for a key that is not there, too."""

        async def later() -> Response:
            await self._kv.delete(header.namespace, header.key)
            log.info("kv.deleted", namespace=header.namespace, key=header.key)
            return Response()

        return later

    def get_kv(self, _request: Request, header: headers.GetKVConfigRequestHeader) -> Response:
        """101."""
        value = self._kv.get(header.namespace, header.key)
        if value is None:
            text = f"no key {header.key[:KEY_CHARS_MAX]} in {header.namespace[:KEY_CHARS_MAX]}"
            raise Refused(ResponseCode.QUERY_NOT_FOUND, text)
        return Response(ext=to_ext(headers.GetKVConfigResponseHeader(value=value)))

    def get_kv_list(
        self, request: Request, header: headers.GetKVListByNamespaceRequestHeader
    ) -> Response:
        """219."""
        table = self._kv.namespace(header.namespace)
        if table is None:
            text = f"no namespace {header.namespace[:KEY_CHARS_MAX]}"
            raise Refused(ResponseCode.QUERY_NOT_FOUND, text)
        return answer(encode_kv_table(dict(table), request.command.serialize))

    def wipe_write_perm(
        self, request: Request, header: headers.WipeWritePermOfBrokerRequestHeader
    ) -> Response:
        """205."""
        count = self._table.wipe_write_perm(header.broker_name)
        peer = request.session.peer_address
        log.info("broker.write_wiped", broker=header.broker_name, topics=count, peer=peer)
        told = headers.WipeWritePermOfBrokerResponseHeader(wipe_topic_count=count)
        return Response(ext=to_ext(told))

    def add_write_perm(
        self, request: Request, header: headers.AddWritePermOfBrokerRequestHeader
    ) -> Response:
        """327."""
        count = self._table.add_write_perm(header.broker_name)
        peer = request.session.peer_address
        log.info("broker.write_added", broker=header.broker_name, topics=count, peer=peer)
        told = headers.AddWritePermOfBrokerResponseHeader(add_topic_count=count)
        return Response(ext=to_ext(told))

    def delete_topic(
        self, request: Request, header: headers.DeleteTopicFromNamesrvRequestHeader
    ) -> Response:
        """216: 0 for an unknown topic, too."""
        count = self._table.delete_topic(header.topic, header.cluster_name)
        if count:
            peer = request.session.peer_address
            log.info("topic.deleted", topic=header.topic, brokers=count, peer=peer)
        return Response()

    def update_config(self, request: Request, _header: object) -> Response:
        """318: all or nothing; until the next start."""
        changed = self._hot.update(parse_config(request.command.body))
        if changed:
            log.warning("config.changed", peer=request.session.peer_address, **changed)
        return Response()

    def get_config(self, _request: Request, _header: object) -> Response:
        """319: what tools show, under Apache's names where it has one."""
        config = self._config
        shown = {
            "listenPort": config.listen.rpartition(":")[2],
            "kvConfigPath": f"{config.data}/{FILE}",
            "scanNotActiveBrokerInterval": str(int(config.routes.scan_interval_s * 1_000)),
            **self._hot.texts(),
        }
        return Response(body=format_config(shown))
