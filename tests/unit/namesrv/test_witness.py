"""Witnesses: what a nameserver takes, confirms, forgets and shows."""

import errno

import msgspec
import pytest
from structlog.testing import capture_logs

from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused, RemoteProtocolError, StoreFailed
from broker_trio.model.pair import NO_EPOCH, Epoch, Record
from broker_trio.namesrv.config import HttpSection, NameserverConfig, WitnessSection
from broker_trio.namesrv.witness import Known, Witness
from broker_trio.namesrv.witnessing import FILE
from broker_trio.wire.bodies import pair as bodies
from namesrv.fakes import MASTER, SLAVE, MemoryDisk, Nameserver

A, B = "a" * 32, "b" * 32


def record(counter: int, owner: str = A, *, prev: Epoch = NO_EPOCH, **members: object) -> Record:
    """A record of {A, B}; two copies unless it says else."""
    epoch = Epoch(counter, owner)
    values = {"members": (A, B), "min": 2, "floor": epoch, "start": 0} | members
    return Record(epoch=epoch, prev=prev, **values)


def nameserver(disk: MemoryDisk | None = None, **section: object) -> Nameserver:
    section.setdefault("new", True)
    config = NameserverConfig(http=HttpSection(address=""), witness=WitnessSection(**section))
    found = Nameserver(config)
    if disk is not None:
        found.disk = disk
        found.app.witnessing._disk = disk
    found.app.witnessing.load()
    return found


async def tell(server: Nameserver, told: Record, name: str = "broker-a") -> bodies.Verdict:
    body = bodies.encode(bodies.Telling(broker_name=name, record=told))
    answer = server.start(RequestCode.PAIR_RECORD, None, body)
    answer = await answer() if callable(answer) else answer
    return bodies.decode(answer.body, bodies.Verdict)


def confirms(server: Nameserver, epoch: Epoch, name: str = "broker-a") -> bool:
    body = bodies.encode(bodies.Question(broker_name=name, epoch=epoch))
    return bodies.decode(server.ask(RequestCode.PAIR_CONFIRM, None, body).body, bodies.Verdict).yes


async def test_a_record_is_confirmed_once_it_is_on_disk():
    """Rule 13: exactly the epoch of the durable record is confirmed, and no other."""
    server = nameserver()
    first = record(1)
    later = server.start(
        RequestCode.PAIR_RECORD,
        None,
        bodies.encode(bodies.Telling(broker_name="broker-a", record=first)),
    )
    assert not confirms(server, first.epoch)
    await later()
    assert confirms(server, first.epoch)
    assert not confirms(server, Epoch(2, A))
    assert not confirms(server, first.epoch, "broker-b")
    again = nameserver(server.disk, new=False)
    assert confirms(again, first.epoch)


async def test_records_go_up_and_never_below_the_floor():
    """Rule 1: older epochs and owners that may lack messages are refused; repeats are harmless."""
    server = nameserver()
    alone = record(3, A, members=(A,), min=1)
    assert (await tell(server, alone)).yes
    assert (await tell(server, alone)).yes
    assert "not above" in (await tell(server, record(2, B))).why
    below = await tell(server, record(4, B, prev=Epoch(1, A), floor=Epoch(1, A)))
    assert (below.yes, below.record) == (False, alone)
    assert "below the floor" in below.why
    assert (await tell(server, record(4, A, prev=Epoch(1, A)))).yes  # the same owner


async def test_a_full_disk_takes_nothing():
    """A record that cannot be written was never taken; a broken disk ends the process."""
    server = nameserver()
    assert (await tell(server, record(1))).yes
    server.disk.failing = OSError(errno.ENOSPC, "full")
    with pytest.raises(Refused, match="no space"):
        await tell(server, record(2))
    assert confirms(server, Epoch(1, A))
    server.disk.failing = OSError(errno.EIO, "broken")
    with pytest.raises(StoreFailed):
        await tell(server, record(2))


@pytest.mark.parametrize("content", [None, b"nonsense"])
async def test_without_its_file_it_is_silent(content):
    """Rule 15: a witness that forgot neither takes nor confirms, and says so."""
    disk = MemoryDisk(files={} if content is None else {FILE: content})
    server = nameserver(disk, new=content is not None)
    verdict = await tell(server, record(1))
    assert (verdict.yes, "neither takes" in verdict.why) == (False, True)
    assert not confirms(server, Epoch(1, A))
    status = bodies.encode(bodies.Naming(broker_name="broker-a"))
    found = bodies.decode(server.ask(RequestCode.PAIR_STATUS, None, status).body, bodies.Status)
    assert (found.forgot, found.record) == (True, None)


def test_it_learns_again_after_the_wait_and_from_enough():
    """Rule 15: no sooner than its own leases end, and from N - majority + 1 others."""
    witness = Witness(None, others=2, wait_until=10.0)
    old, new = {"x": record(1)}, {"x": record(2), "y": record(1)}
    assert "run out in 1.0 s" in witness.relearn([old, new], 9.0)
    assert "1 of 2 other nameservers" in witness.relearn([new], 10.0)
    assert witness.relearn([old, new], 10.0) == ""
    assert witness.unsaved == Known({"x": record(2), "y": record(1)})
    assert not witness.confirms("x", Epoch(2, A))
    witness.saved(witness.unsaved)
    assert witness.confirms("x", Epoch(2, A))


async def test_an_operator_adopts_only_what_was_forgotten():
    """26005 fills an empty witness; one that knows refuses it."""
    server = nameserver(new=False)
    body = bodies.encode(bodies.Adoption(records={"broker-a": record(1)}))
    await server.ask_later(RequestCode.PAIR_ADOPT, None, body)
    assert confirms(server, Epoch(1, A))
    refused = server.ask(RequestCode.PAIR_ADOPT, None, body)
    assert refused.code == ResponseCode.ILLEGAL_OPERATION


async def test_only_the_owner_on_record_is_shown_as_master():
    """Rule 13: another store may not register as master, and one that was master is dropped."""
    server = nameserver()
    table = server.app.table
    server.register("T", "U", addr=MASTER, ext={"storeId": A})
    server.register("T", "U", addr=SLAVE, broker_id=1, ext={"storeId": B})
    await tell(server, record(1, A))
    assert table.brokers["broker-a"].broker_addrs == {0: MASTER, 1: SLAVE}
    await tell(server, record(2, B, prev=Epoch(1, A)))
    assert table.brokers["broker-a"].broker_addrs == {1: SLAVE}
    refused = server.register("T", "U", addr=MASTER, ext={"storeId": A})
    assert (refused.code, "not the master" in (refused.remark or "")) == (1, True)
    server.register("T", "U", addr=SLAVE, ext={"storeId": B})
    server.register("T", "U", addr=MASTER, broker_id=1, ext={"storeId": A})
    assert table.brokers["broker-a"].broker_addrs == {0: SLAVE, 1: MASTER}
    table.check_invariants()


@pytest.mark.parametrize(
    "change",
    [
        {"members": (B,)},
        {"members": (A, A)},
        {"members": (A, B, "c" * 32)},
        {"members": ()},
        {"min": 3},
        {"min": 1, "floor": NO_EPOCH},
        {"start": -1},
        {"prev": Epoch(5, A)},
        {"members": (A, "x")},
    ],
)
def test_a_record_that_makes_no_sense_is_refused_whole(change):
    """What nobody can have made ends in an error, whatever its epoch."""
    wrong = msgspec.structs.replace(record(1), **change)
    body = bodies.encode(bodies.Telling(broker_name="broker-a", record=wrong))
    with pytest.raises(RemoteProtocolError, match="malformed"):
        bodies.decode(body, bodies.Telling)
    server = nameserver()
    assert server.ask(RequestCode.PAIR_RECORD, None, body).code == ResponseCode.SYSTEM_ERROR


@pytest.mark.parametrize(("others", "level"), [((), "info"), (("127.0.0.1:9877",), "warning")])
def test_forgetting_is_a_warning_only_where_there_are_pairs(
    others: tuple[str, ...], level: str
) -> None:
    """A nameserver without other witnesses keeps no pair: nothing is lost on its first start."""
    with capture_logs() as logs:
        nameserver(new=False, others=others)
    found = [each["log_level"] for each in logs if each["event"] == "witness.forgot"]
    assert found == [level]
