"""What a slave does for clients, and what it leaves to its master.

                 master attached                          master away
    pull         what is here is served; nothing here:    served, held, woken like a master's
                 20, and the hint to go to broker 0
    offset       committed here, the master's wins        committed, contributed when it returns
    send         16, with the state and the epoch         16
    admin        16: topics, groups, resets are changed   16
                 at the master and arrive here

A slave never corrects a consumer's offset: what lies behind its end may be on its way, what lies
before its begin may be at the master. Such a pull waits, or goes to the master. Only an owner says
21. A client that knows no master would ask again at once: its pull is held for a moment first.

Where a reader should go on, by how far it is behind the log's end (`far` = pull.far_behind_bytes):

    0 ........ far/32 ............... far/16 .................. far ..............
    master     who is at the slave    a loaded master           the master sends it
               may stay there         sends it to the slave     to the slave always

so that nobody is sent to and fro. Only a slave that is in sync is named, by its own id; a group
whose `whichBrokerWhenConsumeSlowly` is 0 stays at the master.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Protocol, final

from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.route import MASTER_ID
from broker_trio.remoting.dispatch import Later, Parked, Request, Response, Route

REDIRECT_MS: Final = 500  # so long a pull waits here before it is sent to a master that is there
LOADED_SHARE: Final = 16  # of the distance from which on a loaded master sends readers away
STAY_SHARE: Final = 32  # of the distance down to which a slave keeps them
OWNERS_ONLY: Final = frozenset(
    {
        RequestCode.UPDATE_AND_CREATE_TOPIC,
        RequestCode.UPDATE_AND_CREATE_TOPIC_LIST,
        RequestCode.DELETE_TOPIC_IN_BROKER,
        RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
        RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
        RequestCode.DELETE_SUBSCRIPTIONGROUP,
        RequestCode.UPDATE_AND_GET_GROUP_FORBIDDEN,
        RequestCode.INVOKE_BROKER_TO_RESET_OFFSET,
        RequestCode.CLONE_GROUP_OFFSET,
    }
)


class Owning(Protocol):
    """The replica's part in its pair, as far as clients are concerned."""

    @property
    def owns(self) -> bool: ...


class Following(Protocol):
    """The slave's stream: `source` is the master that is attached, or None."""

    @property
    def source(self) -> object | None: ...


@final
class SlaveService:
    """One replica as clients see it. `replica_id` is its broker id while it is no master."""

    def __init__(
        self,
        role: Owning,
        slave: Following,
        replica_id: int,
        mode: str,
        refuse: Callable[[], Refused | None],
        in_sync: Callable[[], int] = lambda: MASTER_ID,
    ) -> None:
        """`refuse`: why nothing may be written here now. `in_sync`: as a master, the id of a slave
        that readers may be sent to; the master's where there is none."""
        self._role, self._slave, self._refuse = role, slave, refuse
        self._in_sync = in_sync
        self._replica_id, self._mode = replica_id, mode

    @property
    def owns(self) -> bool:
        """The master: it corrects offsets and takes changes."""
        return self._role.owns

    @property
    def redirects(self) -> bool:
        """A slave whose master is there: clients should be with that one."""
        return not self._role.owns and self._slave.source is not None

    def reads_at(
        self, behind: int, far: int, group: SubscriptionGroupConfig, *, loaded: bool
    ) -> int:
        """The broker id at which a reader that is `behind` bytes should go on."""
        if self._role.owns:
            wanted = behind > (far // LOADED_SHARE if loaded else far)
            slave = self._in_sync() if wanted and group.which_broker_when_consume_slowly else 0
            return slave or group.broker_id
        if self._slave.source is not None and behind > far // STAY_SHARE:
            return self._replica_id
        return group.broker_id

    @property
    def broker_id(self) -> int:
        return MASTER_ID if self._role.owns else self._replica_id

    @property
    def broker_role(self) -> str:
        """By Apache's names."""
        if not self._role.owns:
            return "SLAVE"
        return "SYNC_MASTER" if self._mode == "sync" else "ASYNC_MASTER"

    def guarded(self, route: Route[Any]) -> Route[Any]:
        """The route as a slave has it: a change of topics, groups or offsets is refused with 16."""
        if route.code not in OWNERS_ONLY:
            return route

        def handle(request: Request, header: Any) -> Response | Parked | Later:
            if not self._role.owns:
                why = self._refuse()
                text = why.remark if why is not None else "this broker is not the master"
                name = RequestCode(route.code).name
                raise Refused(ResponseCode.NO_PERMISSION, f"{name} is for the master alone: {text}")
            return route.handle(request, header)

        return replace(route, handle=handle)
