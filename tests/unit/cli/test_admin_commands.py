"""Commands of administrators against a real broker: what they print, change and exit with."""

import json
from collections.abc import Iterator

import pytest
from click.shell_completion import BashComplete

from broker_trio import __version__
from broker_trio.cli.main import cli
from tests.unit.client.admin.cluster import Running

from .live import Live, live


@pytest.fixture(scope="module")
def cluster() -> Iterator[Live]:
    with live(nameservers=2) as found:
        yield found


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name for topics and groups that no other test of this file has."""
    return request.node.name.removeprefix("test_")[:60]


def filled(cluster: Live, topic: str, count: int = 4, queues: int = 2) -> None:
    cluster.run("topic", "create", topic, "--queues", str(queues))
    lines = "".join(f"{number}\n" for number in range(count))
    cluster.run("produce", topic, "--key", "k", "--tag", "TagA", "--quiet", stdin=lines)


def consumed(cluster: Live, topic: str, group: str, count: int) -> None:
    cluster.run("group", "create", group)
    words = ("consume", topic, "--group", group, "--from-first", "--count", str(count))
    cluster.run(*words)


# -- topics --------------------------------------------------------------------------------------


def test_a_topic_is_changed_and_the_rest_is_left(cluster: Live, name: str) -> None:
    cluster.run("topic", "create", name, "--queues", "3", "--order")
    found = cluster.json("topic", "change", name, "--perm", "r")
    assert found["brokers"] == [
        {
            "broker": "broker-a", "read_queues": 3, "write_queues": 3, "perm": "r",
            "order": True, "attributes": {},
        }
    ]  # fmt: skip
    assert "nothing to change" in cluster.run("topic", "change", name, code=2).stderr


def test_a_topic_is_made_with_attributes(cluster: Live, name: str) -> None:
    """A change leaves them; what no broker knows is refused with the names that there are."""
    cluster.run("topic", "create", name, "--attributes", "+message.type=NORMAL")
    (found,) = cluster.json("topic", "change", name, "--queues", "2")["brokers"]
    assert found["attributes"] == {"message.type": "NORMAL"}
    refused = cluster.run("topic", "create", name, "--attributes", "+colour=red", code=1)
    assert "message.type" in refused.stderr


def test_the_long_list_counts_what_is_in_each_topic(cluster: Live, name: str) -> None:
    filled(cluster, name)
    rows = {row["topic"]: row for row in cluster.json("topic", "list", "--long")["topics"]}
    assert (rows[name]["messages"], rows[name]["queues"]) == (4, 2)
    assert name in cluster.run("topic", "list", "--long").stdout


def test_watching_shows_rates_from_the_second_look_on(cluster: Live, name: str) -> None:
    """As tables and as lines of JSON; --times ends it."""
    filled(cluster, name)
    words = ("topic", "describe", name, "--watch", "0.1", "--times", "2")
    text = cluster.run(*words).stdout
    assert text.count("last stored") == 2
    assert text.count("in/s  last") == 1
    looks = [json.loads(line) for line in cluster.run(*words, "--json").stdout.splitlines()]
    assert [look["messages"] for look in looks] == [4, 4]


def test_whatever_moves_can_be_watched(cluster: Live, name: str) -> None:
    """Every command with --watch looks again: a document a line, or one table after the other."""
    filled(cluster, name)
    consumed(cluster, name, name, 2)
    for words in (
        ("topic", "list"), ("topic", "describe", name), ("topic", "stats", name),
        ("group", "lag"), ("group", "lag", name, "--queues"), ("offset", "show", name),
        ("client", "list"), ("dlq", "list"), ("cluster", "list"), ("cluster", "info", "broker-a"),
    ):  # fmt: skip
        look = (*words, "--watch", "0.1", "--times", "2")
        assert len(cluster.run(*look, "--json").stdout.splitlines()) == 2, words
        assert cluster.run(*look).stdout, words


def test_counters_are_by_group(cluster: Live, name: str) -> None:
    filled(cluster, name)
    consumed(cluster, name, name, 4)
    found = cluster.json("topic", "stats", name)["counters"]
    whats = [(row["what"], row["group"]) for row in found]
    assert whats == [("stored", ""), ("stored bytes", ""), ("consumed", name), ("given back", name)]
    assert cluster.json("topic", "groups", name)["groups"] == [name]


def test_no_route_tells_why(cluster: Live, name: str) -> None:
    """Unknown to all, or not permitted; with the next command."""
    result = cluster.run("topic", "describe", name, code=1)
    assert f"no route for topic {name}: topic unknown to 2 of 2 nameservers" in result.stderr
    assert "next: broker-trio topic list" in result.stderr
    cluster.run("topic", "create", name, "--perm", "w")
    result = cluster.run("message", "peek", name, code=1)
    assert "no read permission on broker-a" in result.stderr
    assert f"next: broker-trio topic change {name} --perm rw" in result.stderr


def test_no_nameserver_is_unreachable(cluster: Live, name: str) -> None:
    """Exit code 4, and what was tried."""
    result = cluster.run("topic", "describe", name, "-n", "127.0.0.1:1", code=4)
    assert "127.0.0.1:1" in result.stderr


# -- groups and offsets --------------------------------------------------------------------------


def test_no_group_at_all_is_said() -> None:
    """On stderr, so that a script's list stays empty."""
    with live() as fresh:
        result = fresh.run("group", "list")
        assert (result.stdout, result.stderr) == ("", "no group yet\n")
        assert fresh.json("group", "list") == {"groups": []}


def test_a_group_from_its_making_to_its_end(cluster: Live, name: str) -> None:
    made = cluster.json("group", "create", name, "--retries", "3")
    assert made == {"group": name, "retries": 3, "ordered": False, "brokers": ["broker-a"]}
    assert name in cluster.run("group", "list").stdout.split()
    (changed,) = cluster.json("group", "change", name, "--disable")["brokers"]
    assert (changed["enabled"], changed["retries"]) == (False, 3)
    assert "broker-a  no" in cluster.run("group", "describe", name).stdout
    assert cluster.json("group", "delete", name)["brokers"] == ["broker-a"]
    result = cluster.run("group", "describe", name, code=1)
    assert f"no consumer group {name} on the broker" in result.stderr
    assert "next: broker-trio group list" in result.stderr


def test_a_group_is_barred_and_allowed(cluster: Live, name: str) -> None:
    filled(cluster, name)
    cluster.run("group", "create", name)
    assert (
        f"{name} may not read {name} on broker-a" in cluster.run("group", "bar", name, name).stdout
    )
    assert cluster.json("group", "allow", name, name)["readable"] == {"broker-a": True}


def test_lag_of_one_and_of_all(cluster: Live, name: str) -> None:
    """By topic, by queue, over all groups; tools' own places are left out."""
    filled(cluster, name)
    consumed(cluster, name, name, 1)
    (group,) = cluster.json("group", "lag", name)["groups"]
    assert group["lag"] == 3
    assert sum(queue["lag"] for queue in group["queues"]) == 3
    groups = {each["group"]: each["lag"] for each in cluster.json("group", "lag")["groups"]}
    assert groups[name] == 3
    assert "TOOLS_CONSUMER" not in groups
    assert "group is at" in cluster.run("group", "lag", name, "--queues").stdout
    assert cluster.run("group", "lag", "nobody-at-all", code=1).stderr.startswith(
        "error: no consumer"
    )


def test_a_group_with_waiting_messages_is_deleted_only_with_yes(cluster: Live, name: str) -> None:
    filled(cluster, name)
    consumed(cluster, name, name, 1)
    result = cluster.run("group", "delete", name, code=3)
    assert "0 members online and 3 messages that wait" in result.stderr
    assert f"next: broker-trio group delete {name} --yes" in result.stderr
    done = cluster.run("group", "delete", name, "--yes")
    assert done.stdout == f"{name}: deleted on broker-a\n"


def test_a_reset_shows_first_and_does_with_yes(cluster: Live, name: str) -> None:
    """Without --yes: exit code 3, the plan, the command; with it: exactly that."""
    filled(cluster, name, queues=1)
    consumed(cluster, name, name, 3)
    words = ("offset", "reset", name, name, "--to", "first")
    result = cluster.run(*words, code=3)
    assert "nothing done yet: 3 messages to be consumed again, 0 to be skipped" in result.stderr
    assert f"next: broker-trio offset reset {name} {name} --to first --yes" in result.stderr
    plan = cluster.json(*words, code=3)
    assert (plan["done"], [(q["before"], q["after"]) for q in plan["queues"]]) == (False, [(3, 0)])
    assert cluster.json("offset", "show", name)["lag"] == 1
    assert cluster.json(*words, "--yes")["done"] is True
    assert cluster.json("offset", "show", name)["lag"] == 4


def test_a_reset_needs_one_place(cluster: Live, name: str) -> None:
    for words in ([], ["--to", "first", "--to-offset", "1"], ["--to-offset", "1"]):
        result = cluster.run("offset", "reset", name, name, *words, code=2)
        assert "Usage:" in result.stderr
    assert "is no time" in cluster.run("offset", "find", name, "yesterday-ish", code=2).stderr


def test_places_are_copied_and_found_by_time(cluster: Live, name: str) -> None:
    filled(cluster, name, queues=1)
    consumed(cluster, name, name, 2)
    copy = f"{name}-2"
    cluster.run("group", "create", copy)
    assert copy in cluster.run("offset", "clone", name, copy).stdout
    assert cluster.json("offset", "show", copy)["lag"] == 2
    assert [q["offset"] for q in cluster.json("offset", "find", name, "1h")["queues"]] == [0]


def test_empty_retry_topics_are_not_shown_to_people(cluster: Live, name: str) -> None:
    """A group's retry topic is a row only while something waits in it, or with --all."""
    filled(cluster, name, queues=1)
    consumed(cluster, name, name, 1)
    retry = f"%RETRY%{name}"
    told = {row["topic"] for row in cluster.json("group", "lag", name)["groups"][0]["queues"]}
    for queues in ([], ["--queues"]):
        assert retry not in cluster.run("group", "lag", name, *queues).stdout
        every = cluster.run("group", "lag", name, "--all", *queues).stdout
        assert (retry in every) == (retry in told)


# -- messages ------------------------------------------------------------------------------------


def test_a_message_is_sent_found_and_followed(cluster: Live, name: str) -> None:
    """By its receipt's id, by key, by time; who consumed it."""
    cluster.run("topic", "create", name, "--queues", "1")
    words = ("message", "send", name, "hello", "--tag", "TagA", "--key", "k1", "--property", "a=b")
    receipt = cluster.json(*words)
    found = cluster.json("message", "get", receipt["offset_message_id"])
    assert (found["body"], found["properties"]["a"], found["properties"]["KEYS"]) == (
        "hello", "b", "k1",
    )  # fmt: skip
    assert "property a" in cluster.run("message", "get", receipt["offset_message_id"]).stdout
    for query in (["k1"], ["--since", "5m"]):
        assert cluster.json("message", "query", name, *query)["body"] == "hello"
    assert "no message" in cluster.run("message", "query", name, "other").stdout
    consumed(cluster, name, name, 1)
    (track,) = cluster.json("message", "track", receipt["offset_message_id"])["groups"]
    assert (track["group"], track["verdict"]) == (name, "consumed")


def test_what_to_look_for_must_be_said(cluster: Live, name: str) -> None:
    assert "a KEY, or --since" in cluster.run("message", "query", name, code=2).stderr


# -- dead letters --------------------------------------------------------------------------------


def dead(cluster: Live, name: str, count: int = 3) -> None:
    """`count` messages that the group gave up, every other with a cause."""

    async def work(running: Running) -> None:
        for number in range(count):
            message_id = await running.send(name, b"%d" % number, tag="TagA", uniq=f"U{number}")
            cause = {"cause": "ValueError: bad price"} if number % 2 else {}
            await running.kill_off(name, message_id, **cause)

    cluster.run("topic", "create", name, "--queues", "1")
    cluster.run("group", "create", name)
    cluster.do(work)


def test_dead_letters_are_listed_counted_and_peeked_at(cluster: Live, name: str) -> None:
    dead(cluster, name)
    groups = {each["group"]: each for each in cluster.json("dlq", "list")["groups"]}
    assert (groups[name]["waiting"], groups[name]["total"]) == (3, 3)
    counts = cluster.json("dlq", "count", name)["counts"]
    assert counts == [
        {"cause": "given up by the consumer", "messages": 2},
        {"cause": "ValueError: bad price", "messages": 1},
    ]
    assert "ValueError: bad price" in cluster.run("dlq", "peek", name).stdout
    assert "3 dead letters" in cluster.run("dlq", "count", name, "--by", "topic").stdout


def test_dead_letters_go_back_with_yes_only(cluster: Live, name: str) -> None:
    """Guarded, limited, filtered by cause; what is done is not done again."""
    dead(cluster, name)
    result = cluster.run("dlq", "send-back", name, "--rate", "600/min", code=3)
    assert "up to 3 dead letters" in result.stderr
    assert "at 10 a second" in result.stderr
    words = ("dlq", "send-back", name, "--rate", "1000", "--yes")
    assert cluster.json(*words, "--limit", "1")["sent"] == 1
    done = cluster.json(*words, "--cause", "valueerror")
    assert (done["sent"], done["passed_over"]) == (1, 1)
    text = cluster.run(*words).stdout
    assert text == f"0 dead letters of {name} sent back\n"
    assert cluster.json("dlq", "list")["groups"] != []


def test_to_the_origin_all_groups_get_it(cluster: Live, name: str) -> None:
    dead(cluster, name, 1)
    words = ("dlq", "send-back", name, "--to", "origin", "--yes")
    assert f"1 to {name}" in cluster.run(*words).stdout


def test_a_bad_rate_is_a_usage_error(cluster: Live, name: str) -> None:
    result = cluster.run("dlq", "send-back", name, "--rate", "fast", code=2)
    assert "'fast' is no rate above 0" in result.stderr


# -- cluster and clients -------------------------------------------------------------------------


def test_brokers_nameservers_and_settings(cluster: Live) -> None:
    (row,) = cluster.json("cluster", "list")["brokers"]
    assert (row["broker"], row["role"], row["address"]) == ("broker-a", "master", cluster.broker)
    rows = cluster.json("cluster", "nameservers")["nameservers"]
    assert [each["missing"] for each in rows] == [[], []]
    assert cluster.json("cluster", "config", "broker-a")["brokerName"] == "broker-a"
    changed = cluster.json("cluster", "config", "broker-a", "--set", "longPollingEnable=true")
    assert changed == {"longPollingEnable": "true"}
    result = cluster.run("cluster", "config", "broker-a", "--set", "brokerName=x", code=1)
    assert "read at start only" in result.stderr
    told = cluster.run("cluster", "info", cluster.broker).stdout
    assert f"{__version__} (as V5_3_4)" in told
    assert len(told.splitlines()) == 10
    assert "brokerVersionDesc" in cluster.run("cluster", "info", cluster.broker, "--all").stdout
    assert " system" in cluster.run("cluster", "nameservers").stdout


def test_a_broker_is_drained_and_comes_back(cluster: Live) -> None:
    assert "takes no new messages" in cluster.run("cluster", "drain", "broker-a").stdout
    assert cluster.json("cluster", "undrain", "broker-a")["writable"] is True
    result = cluster.run("cluster", "drain", "broker-x", code=1)
    assert "brokers known: broker-a" in result.stderr


def test_what_a_broker_holds_is_shown_before_it_is_taken_away(cluster: Live, name: str) -> None:
    """As JSON and as a table: messages that nobody reads, and who may write where."""
    cluster.run("topic", "create", name)
    cluster.run("message", "send", name, "hello")
    found = cluster.json("cluster", "holdings", "broker-a")
    assert {"group": "", "topic": name, "messages": 1} in found["unowned"]
    assert name in found["only_here"]
    assert found["writable"] == dict.fromkeys(cluster.nameservers.split(";"), True)
    told = cluster.run("cluster", "holdings", "broker-a").stdout
    assert "no group reads" in told
    assert "producers write" in told


def test_nobody_online_is_said(cluster: Live, name: str) -> None:
    cluster.run("group", "create", name)
    assert cluster.json("client", "list") == {"clients": []}
    assert "nobody is online" in cluster.run("client", "list").stdout
    for words in (["consumers", name], ["info", name]):
        result = cluster.run("client", *words, code=1)
        assert f"nobody of consumer group {name} is online" in result.stderr
    assert f"no producer of {name}" in cluster.run("client", "producers", name).stdout


# -- completion ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed(cluster: Live, shell: str) -> None:
    assert "_BROKER_TRIO_COMPLETE" in cluster.run("completion", shell).stdout


def test_topics_are_completed_from_the_cluster(cluster: Live, name: str) -> None:
    """What begins with what was typed; nothing, and no error, where nobody answers."""
    cluster.run("topic", "create", name)

    def offered(nameservers: str) -> list[str]:
        words = ["topic", "describe", "-n", nameservers]
        complete = BashComplete(cli, {}, "broker-trio", "_BROKER_TRIO_COMPLETE")
        return [item.value for item in complete.get_completions(words, name[:12])]

    assert name in offered(cluster.nameservers)
    assert offered("127.0.0.1:1") == []
