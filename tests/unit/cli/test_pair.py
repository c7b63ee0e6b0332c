"""Pair commands: the plan comes first, guards exit 3, reruns have nothing to do."""

import json

import pytest
from click.testing import CliRunner, Result

from broker_trio.broker.replication.machine import Machine, Timing, Wish
from broker_trio.cli.access import Outgoing
from broker_trio.cli.main import cli
from broker_trio.cli.pair import reach
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.pair import NO_EPOCH, Epoch, Kept, Lag, Record, Status
from broker_trio.model.route import BrokerData
from broker_trio.namesrv.witness import Known, Witness
from broker_trio.remoting.client import ByteStream
from broker_trio.wire.bodies import pair as bodies
from broker_trio.wire.bodies.route import ClusterInfo, encode_cluster_info
from broker_trio.wire.command import Command

from .fake_cluster import FakeStream, no, yes

A, B = "a" * 32, "b" * 32
FIRST = Epoch(1, A)
NAMESERVERS = ("127.0.0.1:9876", "127.0.0.1:9886", "127.0.0.1:9896")
ADDRESSES = {A: "127.0.0.1:10911", B: "127.0.0.1:10921"}
NAME = "broker-a"


class FakePair:
    """Two machines and three witnesses whose world is fast: what may settle has settled.

    `down`: addresses that refuse; `slow`: nothing comes into force.
    """

    def __init__(self) -> None:
        record = Record(epoch=FIRST, members=(A, B), min=2, floor=FIRST, prev=NO_EPOCH, start=0)
        self.machines = {
            store: Machine(Kept(store_id=store, settled=record, promised=FIRST), Timing(), ("n",))
            for store in (A, B)
        }
        self.machines[A].must_renew = False
        self.machines[B].following = record
        self.witnesses = {
            address: Witness(Known({NAME: record}), others=2, wait_until=0.0)
            for address in NAMESERVERS
        }
        self.down: set[str] = set()
        self.slow = False
        self.slaves = (Lag(replica_id=2, bytes=640, messages=4, ms=300, in_sync=True),)
        self.orders: list[str] = []
        self.settle(A)

    def settle(self, store: str) -> None:
        machine = self.machines[store]
        for _ in range(2):
            if machine.unsaved is not None:
                machine.saved(machine.unsaved)
            machine.agreed = True
            machine.witness_confirmed("n", machine.current.epoch, 0.0, 0.0)

    async def connect(self, address: str) -> ByteStream:
        if address in self.down:
            raise ConnectionRefusedError(111, "Connection refused")
        return FakeStream(lambda command: self.answer(address, command))

    def answer(self, address: str, command: Command) -> Command:
        if command.code == RequestCode.GET_BROKER_CLUSTER_INFO and address in self.witnesses:
            data = BrokerData("DefaultCluster", NAME, {0: ADDRESSES[A], 1: ADDRESSES[B]})
            info = ClusterInfo({NAME: data}, {"DefaultCluster": [NAME]})
            return yes(encode_cluster_info(info, command.serialize))
        if command.code == RequestCode.PAIR_STATUS:
            asked = bodies.decode(command.body, bodies.Naming)
            return yes(bodies.encode(self.status(address, table=asked.table)))
        if command.code == RequestCode.PAIR_ORDER:
            return self.order(address, bodies.decode(command.body, bodies.Order))
        if command.code == RequestCode.PAIR_ADOPT:
            told = bodies.decode(command.body, bodies.Adoption)
            self.orders.append("adopt")
            self.witnesses[address].adopt(told.records)
            return yes(bodies.encode(self.status(address)))
        return no(ResponseCode.REQUEST_CODE_NOT_SUPPORTED)

    def status(self, address: str, *, table: bool = False) -> Status | bodies.Table:
        witness = self.witnesses.get(address)
        if witness is not None and table:
            records = {} if witness.state is None else witness.state.records
            return bodies.Table(forgot=witness.forgot, records=records)
        if witness is not None:
            record = witness.record(NAME)
            return Status(broker_name=NAME, witness=True, forgot=witness.forgot, record=record)
        store = next(one for one, place in ADDRESSES.items() if place == address)
        machine = self.machines[store]
        return Status(
            broker_name=NAME,
            kept=machine.kept,
            replica_id=1 if store == A else 2,
            address=address,
            peer=ADDRESSES[B if store == A else A],
            witnesses=NAMESERVERS,
            mode="sync",
            state=machine.describe(0.0),
            lease_ms=6_000 if machine.leads else 0,
            log_end=100,
            durable_end=100,
            lag=None if store == A else Lag(replica_id=2, bytes=512, messages=3, ms=250),
            slaves=self.slaves if store == A else (),
            follower=B if store == A and ADDRESSES[B] not in self.down else "",
            level=store == A,
        )

    def order(self, address: str, order: bodies.Order) -> Command:
        self.orders.append(order.verb)
        store = next(one for one, place in ADDRESSES.items() if place == address)
        machine = self.machines[store]
        try:
            if order.verb == "pause":
                machine.pause(0.0)
            elif order.verb == "resume":
                machine.resume()
            elif order.verb in {"fence", "rejoin"}:
                machine.fence(fenced=order.verb == "fence")
                machine.saved(machine.state)
            else:
                wish = Wish(order.verb, order.above, order.follower, 2, order.risk)
                machine.propose(wish, log_end=100)
                machine.saved(machine.state)
        except Refused as refusal:
            return no(refusal.code, refusal.remark)
        if not self.slow and machine.leads:
            self.settle(store)
        return yes(bodies.encode(self.status(address)))


@pytest.fixture
def pair() -> FakePair:
    return FakePair()


@pytest.fixture
def run(pair: FakePair, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reach, "STATUS_S_MAX", 60.0)  # real seconds of a machine that is busy

    def invoke(*words: str, stdin: str | None = None) -> Result:
        words = (*words, "-n", ";".join(NAMESERVERS), "--timeout", "60")
        context = Outgoing(pair.connect)
        return CliRunner().invoke(
            cli, list(words), input=stdin, obj=context, env={"COLUMNS": "200"}
        )

    return invoke


def test_status_shows_everybody_and_what_to_do(run, pair: FakePair):
    """A table of replicas and nameservers, and one instruction."""
    result = run("pair", "status", NAME)
    assert result.exit_code == 0, result.output
    assert "ok: broker-a/1 is the master, both copies are there" in result.stdout
    behind = [line.split() for line in result.stdout.splitlines()]
    assert ["2", "1", "640", "4", "0.3", "in", "sync"] in behind, "as the master sees it"
    assert ["2", "2", "512", "3", "0.2"] in behind, "as the slave says itself"
    pair.down.add(ADDRESSES[A])
    found = json.loads(run("pair", "status", NAME, "--json").stdout)
    assert found["instruction"]["verb"] == "promote"
    assert found["instruction"]["command"].startswith("broker-trio promote broker-a/2")
    assert list(found["silent"]) == [ADDRESSES[A]]
    assert [one["record"]["epoch"] for one in found["witnesses"].values()] == [[1, A]] * 3


def test_a_refused_plan_does_nothing_and_exits_with_3(run, pair: FakePair):
    """The master answers: promotion is refused, with the command that fits."""
    result = run("promote", "broker-a/2", "--yes")
    assert result.exit_code == 3
    assert "refused  the master is gone: broker-a/1 is owner" in result.stdout
    assert "next: broker-trio switchover broker-a/1 broker-a/2" in result.stderr
    as_json = run("promote", "broker-a/2", "--yes", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["verdict"]) == (3, "refused")
    assert pair.orders == []


def test_promote_prints_its_plan_asks_and_watches(run, pair: FakePair):
    """Dry runs order nothing; a no ends it; a yes ends with the new owner; again, it is done."""
    pair.down.add(ADDRESSES[A])
    dry = run("promote", "broker-a/2", "--one-copy", "--dry-run")
    assert (dry.exit_code, pair.orders) == (0, [])
    assert "step 2   broker-a/2 acknowledges with its copy alone" in dry.stdout
    assert "lost     nothing that was acknowledged with two copies" in dry.stdout
    assert run("promote", "broker-a/2", stdin="n\n").exit_code == 1
    assert pair.orders == []
    done = run("promote", "broker-a/2", "--one-copy", "--yes", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["status"]["state"] == "owner"
    assert pair.orders == ["promote", "degrade"]
    again = run("promote", "broker-a/2", "--one-copy", "--yes", "--json")
    assert (again.exit_code, json.loads(again.stdout)["verdict"]) == (0, "already")
    assert pair.orders == ["promote", "degrade"]


def test_what_is_not_in_force_in_time_exits_with_5(run, pair: FakePair):
    """The order was given: the same command again continues."""
    pair.down.add(ADDRESSES[A])
    pair.slow = True
    result = run("promote", "broker-a/2", "--yes", "--wait", "0.2")
    assert result.exit_code == 5
    assert "not in force after 0.2 s: it is proposing" in result.stderr
    pair.slow = False
    assert run("promote", "broker-a/2", "--yes").exit_code == 0
    assert pair.machines[B].state.settled.epoch == Epoch(2, B)


def test_degrade_and_restore(run, pair: FakePair):
    """One copy, and two again."""
    pair.down.add(ADDRESSES[B])
    assert run("degrade", "broker-a/1", "--yes").exit_code == 0
    assert pair.machines[A].state.settled.members == (A,)
    pair.down.clear()
    assert run("restore", "broker-a/1", "--yes").exit_code == 0
    assert pair.machines[A].state.settled.members == (A, B)
    assert run("restore", "broker-a/1", "--yes").stdout.endswith("so already\n")


def test_switchover_pauses_first_and_resumes_where_the_slave_refuses(run, pair: FakePair):
    """The pause ends where its handover begins; a refusal ends the pause."""
    result = run("switchover", "broker-a/1", "broker-a/2", "--yes", "--json")
    assert result.exit_code == 0, result.output
    assert pair.orders == ["pause", "handover"]
    assert pair.machines[B].owns


def test_a_risk_needs_a_reason(run, pair: FakePair):
    """Accepted loss is kept in the record, with who and why."""
    pair.down.add(ADDRESSES[A])
    assert run("promote", "broker-a/2", "--accept-loss", "--yes").exit_code == 2
    words = ("--accept-loss", "--reason", "a burnt", "--operator", "me", "--yes")
    result = run("promote", "broker-a/2", *words)
    assert result.exit_code == 0, result.output
    risk = pair.machines[B].state.settled.risk
    assert (risk.operator, risk.reason) == ("me", "a burnt")


def test_fence_and_rejoin(run, pair: FakePair):
    """Both by the same words, both done once."""
    assert run("fence", "broker-a/1", "--yes").exit_code == 0
    assert pair.machines[A].state.fenced
    assert run("pair", "rejoin", "broker-a/1", "--yes").exit_code == 0
    assert not pair.machines[A].state.fenced


def test_nobody_there_exits_with_4(run, pair: FakePair):
    """No status of the replica that is named, and why."""
    pair.down |= {*NAMESERVERS, *ADDRESSES.values()}
    assert run("pair", "status", NAME).exit_code == 4
    result = run("promote", ADDRESSES[B], "--name", NAME, "--replica", ADDRESSES[B], "--yes")
    assert result.exit_code == 4
    assert "Connection refused" in result.stderr


def test_json_asks_nobody(run, pair: FakePair):
    """Without --yes or --dry-run a program's call is a usage error."""
    assert run("fence", "broker-a/1", "--json").exit_code == 2
    assert run("fence", "127.0.0.1:10911").exit_code == 2


def test_adopt_tells_those_that_forgot(run, pair: FakePair):
    """The highest record of everybody; a silent replica needs a reason."""
    for address in NAMESERVERS[:2]:
        pair.witnesses[address] = Witness(None, others=2, wait_until=0.0)
    pair.down.add(ADDRESSES[B])
    assert run("pair", "adopt", "--yes").exit_code == 3
    result = run("pair", "adopt", "--yes", "--reason", "b has no disk any more")
    assert result.exit_code == 0, result.output
    assert [w.record(NAME).epoch for w in pair.witnesses.values()] == [FIRST] * 3
    assert run("pair", "adopt", "--yes", "--reason", "x").stdout.endswith("forgot\n")
