"""All subscriptions of one client, by group, and what brokers ask of them.

    40  somebody came or left       the group looks anew whose queue is whose
    220 an operator resets offsets  the group's queues go on there
    221 where do you stand          smallest unresolved offsets
    307 how are you                 queues, what they hold, what is subscribed to

Questions about a group that this client is not in are answered with a refusal that says so.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

import msgspec

from broker_trio.client.consumer_errors import GroupTaken
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.wire.bodies.offsets import (
    ConsumerStatus,
    decode_reset_offset,
    encode_consumer_status,
)
from broker_trio.wire.bodies.running import RunningInfo, encode_running_info
from broker_trio.wire.command import Command
from broker_trio.wire.headers.base import from_ext
from broker_trio.wire.headers.client import (
    GetConsumerRunningInfoRequestHeader,
    NotifyConsumerIdsChangedRequestHeader,
)
from broker_trio.wire.headers.offset import GetConsumerStatusRequestHeader, ResetOffsetRequestHeader

if TYPE_CHECKING:
    from broker_trio.client.consumer_options import ConsumerOptions
    from broker_trio.client.session import Session
    from broker_trio.client.subscribe import Subscription

Answer = Callable[[Command], Command | None]

YES: Final = ResponseCode.SUCCESS


@final
class Consumers:
    """One for each client."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._groups: dict[str, Subscription] = {}
        for code, answer in (
            (RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, self._changed),
            (RequestCode.RESET_CONSUMER_CLIENT_OFFSET, self._reset),
            (RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT, self._status),
            (RequestCode.GET_CONSUMER_RUNNING_INFO, self._running),
        ):
            session.on_request(code, _careful(answer))

    def subscribe(self, options: "ConsumerOptions") -> "Subscription":
        """Not joined yet: that is what entering it does."""
        from broker_trio.client.subscribe import Subscription  # noqa: PLC0415

        return Subscription(self._session, self, options)

    def join(self, subscription: "Subscription") -> None:
        """Raises `GroupTaken`."""
        if subscription.group in self._groups:
            raise GroupTaken(subscription.group)
        self._groups[subscription.group] = subscription

    def left(self, subscription: "Subscription") -> None:
        if self._groups.get(subscription.group) is subscription:
            del self._groups[subscription.group]

    # ---- what brokers ask

    def _changed(self, command: Command) -> None:
        header = from_ext(command.ext, NotifyConsumerIdsChangedRequestHeader)
        found = self._groups.get(header.consumer_group)
        if found is not None:
            found.nudge()

    def _reset(self, command: Command) -> Command:
        header = from_ext(command.ext, ResetOffsetRequestHeader)
        found = self._groups.get(header.group)
        if found is None:
            return _unknown(header.group)
        offsets = decode_reset_offset(command.body, command.serialize)
        found.reset({queue: at for queue, at in offsets.items() if queue.topic == header.topic})
        return Command(YES)

    def _status(self, command: Command) -> Command:
        header = from_ext(command.ext, GetConsumerStatusRequestHeader)
        found = self._groups.get(header.group)
        if found is None:
            return _unknown(header.group)
        positions = found.positions
        status = ConsumerStatus({q: at for q, at in positions.items() if q.topic == header.topic})
        return Command(YES, body=encode_consumer_status(status, command.serialize))

    def _running(self, command: Command) -> Command:
        header = from_ext(command.ext, GetConsumerRunningInfoRequestHeader)
        found = self._groups.get(header.consumer_group)
        if found is None:
            return _unknown(header.consumer_group)
        info: RunningInfo = found.running_info()
        return Command(YES, body=encode_running_info(info, command.serialize))


def _unknown(group: str) -> Command:
    return Command(ResponseCode.SYSTEM_ERROR, remark=f"this client is not in group {group}")


def _careful(answer: Answer) -> Callable[[str, Command], Command | None]:
    """A broker's nonsense is refused; it never ends the connection or the client."""

    def hook(_address: str, command: Command) -> Command | None:
        try:
            return answer(command)
        except (msgspec.ValidationError, RemoteProtocolError) as error:
            return Command(ResponseCode.SYSTEM_ERROR, remark=str(error))

    return hook
