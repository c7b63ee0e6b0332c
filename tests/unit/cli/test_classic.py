"""`pair status` and `promote` where the broker is a slave of an Apache master."""

import json
from collections.abc import Callable

import msgspec
import pytest
from click.testing import CliRunner, Result

from broker_trio.cli.access import Outgoing
from broker_trio.cli.main import cli
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.pair import Following, Status
from broker_trio.model.route import BrokerData
from broker_trio.remoting.client import ByteStream
from broker_trio.wire.bodies import pair as bodies
from broker_trio.wire.bodies.route import ClusterInfo, encode_cluster_info
from broker_trio.wire.command import Command

from .fake_cluster import NAMESERVER, FakeStream, no, yes

NAME, MASTER, SLAVE = "broker-a", "127.0.0.1:10911", "127.0.0.1:20911"
LEVEL = Following(
    master=MASTER, following=True, answers=True, master_end=900, answered_ms=200, still_ms=5_000,
    tables_ms=400,
)  # fmt: skip
Command_ = Callable[..., Result]


class FakeFollower:
    """A nameserver and an Apache master, which know nothing of ours, and their slave."""

    def __init__(self) -> None:
        self.following = LEVEL
        self.log_end = 900
        self.orders: list[bodies.Order] = []

    async def connect(self, address: str) -> ByteStream:
        return FakeStream(lambda command: self.answer(address, command))

    def answer(self, address: str, command: Command) -> Command:
        if command.code == RequestCode.GET_BROKER_CLUSTER_INFO and address == NAMESERVER:
            data = BrokerData("DefaultCluster", NAME, {0: MASTER, 1: SLAVE})
            info = ClusterInfo({NAME: data}, {"DefaultCluster": [NAME]})
            return yes(encode_cluster_info(info, command.serialize))
        if address != SLAVE:
            return no(ResponseCode.REQUEST_CODE_NOT_SUPPORTED)
        if command.code == RequestCode.PAIR_ORDER:
            self.orders.append(bodies.decode(command.body, bodies.Order))
            self.following = msgspec.structs.replace(self.following, promoted=True)
        status = Status(
            broker_name=NAME,
            replica_id=1,
            address=SLAVE,
            state="owner" if self.following.promoted else "following Apache",
            log_end=self.log_end,
            durable_end=self.log_end,
            classic=self.following,
        )
        return yes(bodies.encode(status))


@pytest.fixture
def follower() -> FakeFollower:
    return FakeFollower()


@pytest.fixture
def run(follower: FakeFollower) -> Command_:
    def invoke(*words: str) -> Result:
        return CliRunner().invoke(
            cli, [*words, "-n", NAMESERVER], obj=Outgoing(follower.connect), env={"COLUMNS": "200"}
        )

    return invoke


def test_status_says_how_far_it_is_and_what_comes_next(run: Command_) -> None:
    shown = run("pair", "status", NAME)
    assert shown.exit_code == 0, shown.output
    for text in ("following Apache", "900", "not yet  the old master is gone", "brokerPermission"):
        assert text in shown.output


def test_it_is_not_promoted_beside_its_master(run: Command_, follower: FakeFollower) -> None:
    done = run("promote", f"{NAME}/1", "--yes")
    assert done.exit_code == 3
    assert "the old master is gone" in done.output
    assert not follower.orders


def test_what_it_is_known_to_lack_needs_an_accepted_loss(
    run: Command_, follower: FakeFollower
) -> None:
    follower.following = msgspec.structs.replace(LEVEL, answers=False, master_end=5_000)
    done = run("promote", f"{NAME}/1", "--yes")
    assert done.exit_code == 3
    assert "it lacks" in done.output
    done = run("promote", f"{NAME}/1", "--yes", "--accept-loss", "--reason", "burnt", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["verdict"] == "done"
    assert "known to have had" in told["plan"]["loss"]
    assert follower.orders[0].risk is not None


def test_promote_shows_its_plan_and_has_nothing_to_do_again(
    run: Command_, follower: FakeFollower
) -> None:
    follower.following = msgspec.structs.replace(
        LEVEL, answers=False, unserved={"rmq_sys_wheel_timer": 3}
    )
    done = run("promote", f"{NAME}/1", "--yes")
    assert done.exit_code == 0, done.output
    for text in ("takes writes", "lost     nothing", "rmq_sys_wheel_timer holds 3"):
        assert text in done.output
    assert [order.verb for order in follower.orders] == ["promote"]
    again = run("promote", SLAVE, "--name", NAME, "--yes")
    assert again.exit_code == 0
    assert "already" in again.output
    assert len(follower.orders) == 1


def test_a_master_that_was_busy_to_the_end_leaves_a_doubt(
    run: Command_, follower: FakeFollower
) -> None:
    follower.following = msgspec.structs.replace(LEVEL, answers=False, still_ms=100)
    done = run("promote", f"{NAME}/1", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "nobody knows how much" in done.output
