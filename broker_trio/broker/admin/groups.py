"""Administration of consumer groups: requests 200, 201, 207, 225, 352 and 353."""

from typing import Any, final

from broker_trio.broker.groups import Groups, no_group
from broker_trio.broker.offsets import ConsumerOffsets
from broker_trio.broker.stats import BrokerStats
from broker_trio.broker.topics import Topics
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.remoting.dispatch import Later, Request, Response, Route
from broker_trio.wire.bodies.group import (
    GroupForbidden,
    SubscriptionGroupWrapper,
    decode_group_config,
    decode_group_config_list,
    encode_group_config,
    encode_group_forbidden,
    encode_group_table,
)
from broker_trio.wire.headers.admin import (
    DeleteSubscriptionGroupRequestHeader,
    GetAllSubscriptionGroupRequestHeader,
    GetAllSubscriptionGroupResponseHeader,
    GetSubscriptionGroupConfigRequestHeader,
    UpdateGroupForbiddenRequestHeader,
)
from broker_trio.wire.headers.base import to_ext


@final
class GroupAdmin:
    """The group requests of administrators and tools. A change is answered once it is on disk."""

    def __init__(
        self, groups: Groups, topics: Topics, offsets: ConsumerOffsets, stats: BrokerStats
    ) -> None:
        self._groups, self._topics, self._offsets, self._stats = groups, topics, offsets, stats

    def routes(self) -> tuple[Route[Any], ...]:
        code = RequestCode
        return (
            Route(code.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, None, self.put),
            Route(code.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, None, self.put_list),
            Route(
                code.GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
                GetAllSubscriptionGroupRequestHeader,
                self.get_all,
            ),
            Route(
                code.GET_SUBSCRIPTIONGROUP_CONFIG, GetSubscriptionGroupConfigRequestHeader, self.get
            ),
            Route(code.DELETE_SUBSCRIPTIONGROUP, DeleteSubscriptionGroupRequestHeader, self.delete),
            Route(
                code.UPDATE_AND_GET_GROUP_FORBIDDEN,
                UpdateGroupForbiddenRequestHeader,
                self.forbidden,
            ),
        )

    def put(self, request: Request, _header: None) -> Later:
        """200."""
        self._groups.put(decode_group_config(request.command.body, request.command.serialize))
        return self._persisted

    def put_list(self, request: Request, _header: None) -> Later:
        """225: in order; the first that is refused ends it."""
        command = request.command
        for config in decode_group_config_list(command.body, command.serialize):
            self._groups.put(config)
        return self._persisted

    def delete(self, _request: Request, header: DeleteSubscriptionGroupRequestHeader) -> Later:
        """207: the group; its offsets only where `cleanOffset` says so."""
        self._groups.delete(header.group_name)
        self._stats.forget_group(header.group_name)
        if header.clean_offset:
            self._offsets.delete_group(header.group_name)
        return self._persisted

    async def _persisted(self) -> Response:
        try:
            await self._groups.file.persist_if_dirty()
        except OSError as error:
            raise Refused(
                ResponseCode.SYSTEM_ERROR, f"changed, but not on disk yet: {error}"
            ) from error
        return Response()

    def get_all(self, request: Request, header: GetAllSubscriptionGroupRequestHeader) -> Response:
        """201: the table by name, or one page of it."""
        table = self._groups.table
        first, count = max(header.group_seq or 0, 0), header.max_group_num
        wanted = sorted(table)
        if count is not None:
            wanted = wanted[first : first + max(count, 0)]
        wrapper = SubscriptionGroupWrapper(
            self._groups.data_version,
            {name: table[name] for name in wanted},
            self._groups.forbidden,
        )
        return Response(
            ext=to_ext(GetAllSubscriptionGroupResponseHeader(total_group_num=len(table))),
            body=encode_group_table(wrapper, request.command.serialize),
        )

    def get(self, request: Request, header: GetSubscriptionGroupConfigRequestHeader) -> Response:
        """352."""
        config = self._groups.get(header.group)
        if config is None:
            raise no_group(header.group)
        return Response(body=encode_group_config(config, request.command.serialize))

    def forbidden(self, request: Request, header: UpdateGroupForbiddenRequestHeader) -> Response:
        """353: bar a topic to a group or allow it again; without `readable` only ask."""
        if self._groups.get(header.group) is None:
            raise no_group(header.group)
        self._topics.require(header.topic)
        if header.readable is not None:
            self._groups.set_may_read(header.group, header.topic, header.readable)
        body = GroupForbidden(
            header.group, header.topic, self._groups.may_read(header.group, header.topic)
        )
        return Response(body=encode_group_forbidden(body, request.command.serialize))
