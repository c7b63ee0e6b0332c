"""Commands that talk to a cluster: what they ask, print and exit with."""

import json
from pathlib import Path

import pytest

from broker_trio.cli.produce import Tally
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.route import MessageQueue
from broker_trio.wire.command import Serialize

from .conftest import Run
from .fake_cluster import BROKER, NAMESERVER, FakeCluster


def test_a_topic_is_created_on_the_masters(run: Run, cluster: FakeCluster) -> None:
    """`topic create` asks each master and says where it is."""
    result = run("topic", "create", "orders", "--queues", "4", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "topic": "orders",
        "queues": 4,
        "perm": "rw",
        "brokers": ["broker-a"],
    }
    assert cluster.topics == {"orders": 4}
    assert (BROKER, RequestCode.UPDATE_AND_CREATE_TOPIC) in cluster.asked


def test_a_topic_name_with_a_path_in_it_is_a_usage_error(run: Run, cluster: FakeCluster) -> None:
    """Names are checked before anybody is asked."""
    result = run("topic", "create", "../etc/passwd")
    assert result.exit_code == 2
    assert "characters other than" in result.stderr
    assert cluster.asked == []


def test_a_broker_that_nobody_knows_is_named_with_those_that_exist(run: Run) -> None:
    """A mistaken --broker is answered with the names there are."""
    result = run("topic", "create", "orders", "--broker", "broker-z")
    assert result.exit_code == 1
    assert "broker-z; brokers known: broker-a" in result.stderr
    assert "next: broker-trio cluster list" in result.stderr


def test_the_list_hides_what_users_did_not_make(run: Run, cluster: FakeCluster) -> None:
    """System topics, retry topics and the broker's own topic are shown only when asked for."""
    cluster.topics.update(orders=4, bills=1)
    assert run("topic", "list").stdout.split() == ["bills", "orders"]
    everything = json.loads(run("topic", "list", "--system", "--json").stdout)
    assert everything == {"topics": ["%RETRY%g", "TBW102", "bills", "broker-a", "orders"]}


def test_a_route_shows_queues_and_addresses(run: Run, cluster: FakeCluster) -> None:
    """`topic route` prints what clients see."""
    cluster.topics["orders"] = 4
    found = json.loads(run("topic", "route", "orders", "--json").stdout)
    assert found["brokers"] == [
        {
            "name": "broker-a",
            "read_queues": 4,
            "write_queues": 4,
            "perm": "rw",
            "addresses": {"0": BROKER},
        }
    ]
    assert f"0={BROKER}" in run("topic", "route", "orders").stdout


def test_an_unknown_topic_says_who_was_asked_and_what_next(run: Run) -> None:
    """No route is a failure, code 1; who only looks is not told to make the topic."""
    result = run("topic", "route", "nothing")
    assert result.exit_code == 1
    assert "no route for topic nothing: topic unknown to 1 of 1 nameservers" in result.stderr
    assert "next: broker-trio topic list" in result.stderr
    assert "create" not in result.stderr


def test_describe_shows_each_queue(run: Run, cluster: FakeCluster) -> None:
    """Bounds and count of every queue."""
    run("produce", "orders", stdin="one\ntwo\n")
    rows = json.loads(run("topic", "describe", "orders", "--json").stdout)["queues"]
    first, second = (row["queue"] for row in rows)
    assert (second - first) % 4 in (1, 3), "queues take turns, from any one on"
    assert [(row["max_offset"], row["messages"]) for row in rows] == [(1, 1), (1, 1)]
    assert len(cluster.messages) == 2


def test_a_topic_with_messages_is_deleted_only_with_yes(run: Run, cluster: FakeCluster) -> None:
    """The guard says how much would be lost, exits with 3, and nothing has changed."""
    run("produce", "orders", stdin="one\ntwo\n")
    refused = run("topic", "delete", "orders")
    assert refused.exit_code == 3
    assert "holds 2 messages" in refused.stderr
    assert "orders" in cluster.topics
    done = run("topic", "delete", "orders", "--yes")
    assert done.exit_code == 0
    assert done.stdout == "orders: deleted on broker-a, with 2 messages\n"
    assert "orders" not in cluster.topics
    asked = [code for address, code in cluster.asked if code in {215, 216}]
    assert asked == [RequestCode.DELETE_TOPIC_IN_BROKER, RequestCode.DELETE_TOPIC_IN_NAMESRV]


def test_the_cluster_list_shows_rates(run: Run) -> None:
    """One row a replica, with what the broker says of itself."""
    (row,) = json.loads(run("cluster", "list", "--json").stdout)["brokers"]
    assert row == {
        "cluster": "DefaultCluster",
        "broker": "broker-a",
        "id": 0,
        "role": "master",
        "address": BROKER,
        "version": "V5_3_4",
        "in_per_s": 12.5,
        "stored": 7,
    }


def test_a_broker_that_is_down_does_not_end_the_list(run: Run, cluster: FakeCluster) -> None:
    """The list is for finding out who is down."""
    cluster.down.add(BROKER)
    result = run("cluster", "list")
    assert result.exit_code == 0
    assert "no answer" in result.stdout


def test_cluster_info_takes_a_name_or_an_address(run: Run) -> None:
    """A broker name leads to its master."""
    by_name = run("cluster", "info", "broker-a").stdout
    assert by_name.startswith("version       V5_3_4\n")
    assert "brokerVersionDesc = V5_3_4" in run("cluster", "info", "broker-a", "--all").stdout
    assert run("cluster", "info", BROKER).stdout == by_name
    assert run("cluster", "info", "broker-z").exit_code == 1


def test_nobody_there_is_exit_code_4(run: Run, cluster: FakeCluster) -> None:
    """Unreachable is told apart from refused, with the address that was tried."""
    cluster.down.add(NAMESERVER)
    result = run("topic", "list")
    assert result.exit_code == 4
    assert NAMESERVER in result.stderr
    assert "Connection refused" in result.stderr


def test_a_second_nameserver_answers_for_a_silent_first(run: Run, cluster: FakeCluster) -> None:
    """Nameservers are asked in order until one answers."""
    cluster.topics["orders"] = 4
    result = run("topic", "list", "-n", f"127.0.0.1:1;{NAMESERVER}")
    assert result.stdout.split() == ["orders"]


def test_an_order_without_an_answer_is_exit_code_5(run: Run, cluster: FakeCluster) -> None:
    """The connection broke after the order left: it may have been carried out."""
    cluster.close_on.add(RequestCode.UPDATE_AND_CREATE_TOPIC)
    result = run("topic", "create", "orders")
    assert result.exit_code == 5
    assert "it may have been done" in result.stderr


def test_a_question_without_an_answer_is_exit_code_4(run: Run, cluster: FakeCluster) -> None:
    """A question changes nothing, so its outcome is not unknown."""
    cluster.close_on.add(RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER)
    assert run("topic", "list").exit_code == 4


@pytest.mark.parametrize("address", ["localhost", "host:0", "host:99999", ";", "host:port"])
def test_an_address_that_is_none_is_a_usage_error(run: Run, address: str) -> None:
    """--nameserver is checked before anything is asked."""
    assert run("topic", "list", "-n", address).exit_code == 2


def test_ours_are_asked_in_cbor_and_others_in_json(run: Run, cluster: FakeCluster) -> None:
    """A peer that closes the connection on CBOR is asked again in JSON, and only then."""
    cluster.topics["orders"] = 4
    assert run("topic", "list").stdout.split() == ["orders"]
    assert cluster.serialized == {Serialize.CBOR}
    cluster.serialized.clear()
    cluster.json_only = True
    assert run("topic", "list").stdout.split() == ["orders"]
    assert run("produce", "orders", stdin="one\n").exit_code == 0
    assert cluster.serialized == {Serialize.JSON}


# -- produce and consume -------------------------------------------------------------------------


def test_each_line_becomes_a_message_with_a_receipt(run: Run, cluster: FakeCluster) -> None:
    """Lines go round the queues; empty ones are skipped; a receipt says where each one is."""
    result = run("produce", "orders", "--tag", "A", "--key", "k1 k2", "--json", stdin="a\n\nb\r\n")
    assert result.exit_code == 0, result.output
    receipts = [json.loads(line) for line in result.stdout.splitlines()]
    begin = receipts[0]["queue_id"]
    assert [(r["queue_id"], r["queue_offset"], r["durability"]) for r in receipts] == [
        (begin, 0, "memory"),
        ((begin + 1) % 4, 0, "memory"),
    ]
    (first,) = cluster.messages[MessageQueue("orders", "broker-a", begin)]
    assert (first.body, first.tags, first.keys) == (b"a", "A", ["k1", "k2"])
    assert receipts[0]["message_id"] == first.uniq_key
    assert receipts[0]["offset_message_id"] == first.message_id


def test_several_senders_lose_no_line(run: Run, cluster: FakeCluster) -> None:
    """With more senders order goes, and every line is still stored once."""
    lines = [f"line {number}" for number in range(50)]
    result = run("produce", "orders", "--senders", "8", "--quiet", stdin="\n".join(lines))
    assert result.stdout == "50 stored\n"
    bodies = sorted(m.body.decode() for found in cluster.messages.values() for m in found)
    assert bodies == sorted(lines)


def test_refused_sends_are_told_and_counted(run: Run, cluster: FakeCluster) -> None:
    """The broker's own text reaches the person, and the exit code is 1."""
    cluster.refuse_sends = ResponseCode.SERVICE_NOT_AVAILABLE
    result = run("produce", "orders", "--deadline", "0.4", stdin="a\n\nb\n")
    assert result.exit_code == 1
    assert [line[:18] for line in result.stderr.splitlines()[:2]] == [
        "not stored: line 1", "not stored: line 3",
    ]  # fmt: skip
    assert "SERVICE_NOT_AVAILABLE: the disk is full" in result.stderr
    assert "0 stored, 2 refused" in result.stderr


def test_a_send_without_an_answer_is_unknown_and_not_repeated(
    run: Run, cluster: FakeCluster
) -> None:
    """The connection broke after the send left: exit code 5, and one attempt a line."""
    cluster.close_on.add(RequestCode.SEND_MESSAGE_V2)
    result = run("produce", "orders", stdin="a\n")
    assert result.exit_code == 5
    assert result.stderr.startswith("unknown: line 1: ")
    assert "1 of unknown outcome" in result.stderr
    assert cluster.messages == {}


def test_a_line_is_tried_again_through_an_outage(run: Run, cluster: FakeCluster) -> None:
    """The broker refuses for a moment, more often than a single send is worth: nothing is lost."""
    cluster.topics["orders"] = 1
    cluster.fail_first = 2
    result = run("produce", "orders", "--quiet", stdin="a\nb\n")
    assert (result.exit_code, result.stdout) == (0, "2 stored\n"), result.output


def test_lines_that_were_not_stored_are_kept_and_counted(
    run: Run, cluster: FakeCluster, tmp_path: Path
) -> None:
    """--rejected FILE can be sent again as it is; the errors that are not shown are counted."""
    cluster.refuse_sends = ResponseCode.MESSAGE_ILLEGAL
    rejected = tmp_path / "rejected"
    lines = "".join(f"line {number}\n" for number in range(12))
    words = ("produce", "orders", "--rejected", str(rejected))
    result = run(*words, stdin=lines)
    assert result.exit_code == 1
    assert rejected.read_text() == lines
    assert "2 more errors are not shown" in result.stderr
    again = run(*words, stdin=lines)
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)


def test_stored_and_not_sent_is_a_failure_and_not_an_absence() -> None:
    """Exit code 4 promises that nothing was done."""
    assert Tally(stored=1, unreachable=1).verdict().exit_code == 1
    assert Tally(stored=0, unreachable=1).verdict().exit_code == 4
    assert Tally(stored=1, unreachable=1, unknown=1).verdict().exit_code == 5


@pytest.mark.parametrize(
    "words",
    [
        ("topic", "list"),
        ("topic", "list", "--long"),
        ("topic", "create", "orders"),
        ("topic", "stats", "orders"),
        ("topic", "route", "orders"),
        ("consume", "orders"),
        ("produce", "orders"),
        ("message", "send", "orders", "hello"),
    ],
)
def test_no_broker_at_all_is_said_by_every_command(
    run: Run, cluster: FakeCluster, words: tuple[str, ...]
) -> None:
    """The nameserver is up, the broker is not: nobody advises to create a topic."""
    cluster.registered = False
    result = run(*words, "--timeout", "0.2", stdin="a\n")
    assert result.exit_code == 4, result.output
    assert f"error: no broker is registered at {NAMESERVER}" in result.stderr
    assert "next: broker-trio doctor" in result.stderr


def test_a_delay_is_told_in_seconds_minutes_or_hours(run: Run, cluster: FakeCluster) -> None:
    """One of the levels that brokers know; others are a usage error with what there is."""
    cluster.topics["orders"] = 1
    assert run("produce", "orders", "--delay", "10s", stdin="a\n").exit_code == 0
    (message,) = cluster.messages[MessageQueue("orders", "broker-a", 0)]
    assert message.properties["DELAY"] == "3"
    result = run("produce", "orders", "--delay", "11s", stdin="a\n")
    assert (result.exit_code, "1s 5s 10s" in result.stderr) == (2, True)


def test_consume_prints_what_is_there_and_commits(run: Run, cluster: FakeCluster) -> None:
    """Bodies on stdout, the group's place behind them; a second run prints nothing."""
    run("produce", "orders", stdin="a\nb\nc\n")
    first = run("consume", "orders", "--group", "g", "--from-first")
    assert first.exit_code == 0, first.output
    assert sorted(first.stdout.split()) == ["a", "b", "c"]
    assert sorted(cluster.committed.values()) == [1, 1, 1]
    assert run("consume", "orders", "--group", "g", "--from-first").stdout == ""


def test_a_new_group_starts_at_the_end(run: Run) -> None:
    """Without --from-first what is already there is not for a new group."""
    run("produce", "orders", stdin="a\nb\n")
    assert run("consume", "orders", "--group", "g").stdout == ""


def test_count_stops_in_the_middle_of_a_pull(run: Run, cluster: FakeCluster) -> None:
    """The group's place is behind the last printed message, not behind the pulled ones."""
    cluster.topics["orders"] = 1
    run("produce", "orders", stdin="a\nb\nc\n")
    run("consume", "orders", "--group", "g", "--from-first", "--count", "2")
    assert cluster.committed == {("g", "orders", 0): 2}
    assert run("consume", "orders", "--group", "g").stdout == "c\n"


def test_follow_waits_for_more(run: Run, cluster: FakeCluster) -> None:
    """--follow with --count ends once there were enough."""
    cluster.topics["orders"] = 1
    run("produce", "orders", stdin="a\nb\n")
    result = run("consume", "orders", "--from-first", "--follow", "--count", "2", "--json")
    bodies = [json.loads(line)["body"] for line in result.stdout.splitlines()]
    assert bodies == ["a", "b"]


def test_no_commit_leaves_the_group_alone(run: Run, cluster: FakeCluster) -> None:
    """--no-commit reads and moves nothing."""
    run("produce", "orders", stdin="a\n")
    assert run("consume", "orders", "--from-first", "--no-commit").stdout == "a\n"
    assert cluster.committed == {}


def test_tags_are_compared_as_text_too(run: Run) -> None:
    """Brokers compare hashes of tags; what slips through is left out here."""
    run("produce", "orders", "--tag", "A", stdin="a\n")
    run("produce", "orders", "--tag", "B", stdin="b\n")
    assert run("consume", "orders", "--from-first", "--tag", "B || C").stdout == "b\n"


# -- messages ------------------------------------------------------------------------------------


def test_a_message_is_got_by_the_id_of_its_receipt(run: Run) -> None:
    """The offset message id leads to the broker that has it."""
    receipt = json.loads(run("produce", "orders", "--json", stdin="hello\n").stdout)
    found = json.loads(run("message", "get", receipt["offset_message_id"], "--json").stdout)
    ids = ("message_id", "offset_message_id")
    assert [found[name] for name in ids] == [receipt[name] for name in ids]
    assert (found["body"], found["queue_offset"]) == ("hello", 0)
    assert "body = hello" in run("message", "get", receipt["offset_message_id"]).stdout


def test_an_id_that_is_none_says_what_else_it_may_be(run: Run) -> None:
    """A unique key needs its topic."""
    result = run("message", "get", "zzz")
    assert result.exit_code == 1
    assert "next: broker-trio message get --topic TOPIC zzz" in result.stderr


@pytest.mark.parametrize("command", ["get", "track"])
def test_a_unique_key_without_its_topic_dials_nobody(
    run: Run, cluster: FakeCluster, command: str
) -> None:
    """Its digits spell an address and a port that are nobody's; the text says what it may be."""
    receipt = json.loads(run("produce", "orders", "--json", stdin="hello\n").stdout)
    dialled = len(cluster.asked)
    for other in (receipt["message_id"], "0A01020300002A9F" + "0" * 16):
        result = run("message", command, other)
        assert result.exit_code == 1, result.output
        assert f"{other} is not an offset id of this cluster" in result.stderr
        assert "--topic TOPIC" in result.stderr
    assert {address for address, _ in cluster.asked[dialled:]} == {NAMESERVER}
    found = run("message", "get", receipt["message_id"], "--topic", "orders", "--json")
    assert json.loads(found.stdout)["body"] == "hello"


def test_an_offset_id_is_no_key_and_the_query_says_so(run: Run) -> None:
    receipt = json.loads(run("produce", "orders", "--json", stdin="hello\n").stdout)
    result = run("message", "query", "orders", receipt["offset_message_id"])
    assert f"next: broker-trio message get {receipt['offset_message_id']}" in result.stderr
    assert "next" not in run("message", "query", "orders", "k1").stderr


def test_messages_are_found_by_key(run: Run) -> None:
    """`message query` prints those that carry the key, and nothing else."""
    run("produce", "orders", "--key", "k1", stdin="a\n")
    run("produce", "orders", "--key", "k2", stdin="b\n")
    found = [
        json.loads(x)
        for x in run("message", "query", "orders", "k2", "--json").stdout.split("\n")
        if x
    ]
    assert [each["body"] for each in found] == ["b"]
    assert run("message", "query", "orders", "k3", "--json").stdout == ""


def test_peek_shows_the_newest_and_moves_no_group(run: Run, cluster: FakeCluster) -> None:
    """The last messages of each queue, whatever bytes they are."""
    cluster.topics["orders"] = 1
    run("produce", "orders", stdin=b"a\nb\n\xff\xfe\n")
    found = [
        json.loads(x)
        for x in run("message", "peek", "orders", "--count", "2", "--json").stdout.splitlines()
    ]
    assert [each.get("body", each.get("body_base64")) for each in found] == ["b", "//4="]
    assert cluster.committed == {}
    assert "offset" in run("message", "peek", "orders").stdout
