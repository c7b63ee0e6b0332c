"""Who is connected: heartbeats in, members and pushes out."""

import json

import msgspec
import pytest

from broker.fakes import FakeSession, Tables, ask
from broker_trio.broker.sessions import EXPIRE_S, Sessions
from broker_trio.model.codes import RequestCode
from broker_trio.model.topic import TopicConfig
from broker_trio.remoting.dispatch import Dispatcher

NOTIFY = RequestCode.NOTIFY_CONSUMER_IDS_CHANGED


class Kit:
    """Sessions behind a dispatcher."""

    def __init__(self, **settings):
        self.tables = Tables(**settings).load()
        self.sessions = self.tables.sessions
        self.dispatcher = Dispatcher(self.sessions.routes())

    def heartbeat(self, session, client_id="c", groups=("G",), *, subs=("T",), version=1, **more):
        model = more.pop("model", "CLUSTERING")
        producers = more.pop("producers", ())
        expression = more.pop("expression", "*")
        body = {
            "clientID": client_id,
            "consumerDataSet": [
                {
                    "groupName": group,
                    "consumeType": "CONSUME_PASSIVELY",
                    "messageModel": model,
                    "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET",
                    "subscriptionDataSet": [
                        {"topic": topic, "subString": expression, "subVersion": version}
                        for topic in subs
                    ],
                }
                for group in groups
            ],
            "producerDataSet": [{"groupName": group} for group in producers],
            **more,
        }
        return ask(self.dispatcher, 34, body=json.dumps(body).encode(), session=session)

    def members(self, group="G"):
        answer = ask(self.dispatcher, 38, {"consumerGroup": group})
        return json.loads(answer.body)["consumerIdList"] if answer.code == 0 else answer.code


def test_a_heartbeat_makes_member_group_and_retry_topic():
    """38 lists the client, the group has its defaults, tools find the group by its retry topic."""
    kit = Kit()
    answer = kit.heartbeat(FakeSession())
    assert (answer.code, answer.ext["IS_SUB_CHANGE"]) == (0, "true")
    assert kit.members() == ["c"]
    assert kit.tables.groups.get("G") is not None
    assert kit.tables.topics.get("%RETRY%G") is not None


def test_an_unknown_group_is_code_1():
    """Clients take it for "no rebalance now"."""
    assert Kit().members() == 1


def test_members_are_told_when_one_joins_leaves_or_subscribes():
    """40 goes to all members, and not when nothing changed."""
    kit, first, second = Kit(), FakeSession(), FakeSession()
    kit.heartbeat(first, "a")
    kit.heartbeat(second, "b")
    assert (first.codes(), second.codes()) == ([NOTIFY] * 2, [NOTIFY])
    kit.heartbeat(first, "a")
    assert len(first.sent) == 2
    kit.heartbeat(first, "a", subs=("T", "U"))
    assert (len(first.sent), len(second.sent)) == (3, 2)
    kit.sessions.closed(second)
    assert (len(first.sent), len(second.sent)) == (4, 2)
    assert kit.members() == ["a"]
    assert first.sent[0].ext == {"consumerGroup": "G"}


def test_broadcasting_groups_and_those_that_refuse_are_not_told():
    """Nobody rebalances a broadcast; and a group may have switched the push off."""
    kit, session = Kit(), FakeSession()
    kit.heartbeat(session, model="BROADCASTING")
    assert session.sent == []
    config = kit.tables.groups.find_or_create("Q")
    kit.tables.groups.put(msgspec.structs.replace(config, notify_consumer_ids_changed_enable=False))
    kit.heartbeat(session, groups=("Q",))
    assert session.sent == []


def test_the_same_client_on_a_new_connection_replaces_the_old_channel():
    """Pushes go to the living socket, and the old one's end takes nobody away."""
    kit, old, new = Kit(), FakeSession(), FakeSession()
    kit.heartbeat(old)
    kit.heartbeat(new)
    assert kit.members() == ["c"]
    assert kit.sessions.consumer_channel("G", "c").session is new
    kit.sessions.closed(old)
    assert kit.members() == ["c"]
    kit.sessions.closed(new)
    assert kit.members() == 1
    assert kit.sessions.channels == 0


def test_only_a_newer_subscription_replaces_the_known_one():
    """Two members that run different versions do not flap; topics that are gone are dropped."""
    kit, session = Kit(), FakeSession()
    kit.heartbeat(session, version=5, expression="A")
    kit.heartbeat(session, version=4, expression="B")
    assert kit.sessions.subscription("G", "T").sub_string == "A"
    kit.heartbeat(session, version=6, expression="B")
    assert kit.sessions.subscription("G", "T").sub_string == "B"
    kit.heartbeat(session, subs=("U",))
    assert kit.sessions.subscription("G", "T") is None
    assert kit.sessions.groups_subscribed("U") == ["G"]


def test_a_clients_own_hashes_are_not_believed():
    """The code set is made from the expression, whatever `codeSet` the client sends."""
    kit = Kit()
    kit.heartbeat(FakeSession(), expression="TagA")
    assert kit.sessions.subscription("G", "T").code_set == frozenset({2598919})


def test_heartbeats_of_version_2_need_not_repeat_subscriptions():
    """While the fingerprint stays the answer is `false`; when it differs the client resends all."""
    kit, session = Kit(), FakeSession()
    full = kit.heartbeat(session, heartbeatFingerprint=7)
    assert full.ext["IS_SUB_CHANGE"] == "false"
    light = {"subs": (), "withoutSub": True}
    assert kit.heartbeat(session, **light, heartbeatFingerprint=7).ext["IS_SUB_CHANGE"] == "false"
    assert kit.sessions.subscription("G", "T") is not None
    assert kit.heartbeat(session, **light, heartbeatFingerprint=8).ext["IS_SUB_CHANGE"] == "true"
    assert (
        kit.heartbeat(FakeSession(), "d", ("H",), **light, heartbeatFingerprint=7).ext[
            "IS_SUB_CHANGE"
        ]
        == "true"
    )
    assert kit.members("H") == 1


def test_unregistering_leaves_the_named_groups_only():
    """35 is answered 0 whatever was there, and cannot remove somebody else's connection."""
    kit, session = Kit(), FakeSession()
    kit.heartbeat(session, groups=("G", "H"), producers=("P",))
    ext = {"clientID": "c", "consumerGroup": "G", "producerGroup": "P"}
    assert ask(kit.dispatcher, 35, ext, session=FakeSession()).code == 0
    assert kit.members() == ["c"]
    assert ask(kit.dispatcher, 35, ext, session=session).code == 0
    assert (kit.members(), kit.members("H")) == (1, ["c"])
    assert kit.sessions.producer_channels("P") == []


def test_silent_clients_expire():
    """120 s without a heartbeat: out, and the others are told."""
    kit, silent, alive = Kit(), FakeSession(), FakeSession()
    kit.heartbeat(silent, "a", producers=("P",))
    kit.tables.clock.advance(60)
    kit.heartbeat(alive, "b")
    assert kit.sessions.expire(EXPIRE_S) == 0
    assert kit.sessions.expire(EXPIRE_S + 1) == 2
    assert kit.members() == ["b"]
    assert alive.codes()[-1] == NOTIFY
    assert kit.sessions.producers == {}


def test_the_retry_topic_of_an_ordered_topics_consumers_is_ordered():
    """The order flag goes along to where the messages are retried."""
    kit = Kit()
    kit.tables.topics.put(TopicConfig("T", order=True))
    kit.heartbeat(FakeSession())
    assert kit.tables.topics.get("%RETRY%G").order


def test_a_group_that_may_not_be_made_is_skipped():
    """The rest of the heartbeat counts; the client keeps running."""
    kit = Kit(auto_create_subscription_group=False)
    assert kit.heartbeat(FakeSession(), producers=("P",)).code == 0
    assert kit.members() == 1
    assert len(kit.sessions.producer_channels("P")) == 1


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"clientID":""}', b'{"clientID":"' + b"x" * 256 + b'"}']
)
def test_nonsense_is_refused(body):
    """Any bytes end in an answer, and register nobody."""
    kit = Kit()
    assert ask(kit.dispatcher, 34, body=body).code in {1, 29}
    assert kit.sessions.channels == 0


def test_the_number_of_channels_is_limited():
    """Beyond the limit new members are refused with 2; those that are in stay."""
    kit = Kit()
    kit.sessions = Sessions(kit.tables.topics, kit.tables.groups, kit.tables.clock, channels_max=1)
    kit.dispatcher = Dispatcher(kit.sessions.routes())
    session = FakeSession()
    assert kit.heartbeat(session, "a").code == 0
    assert kit.heartbeat(FakeSession(), "b").code == 2
    assert kit.heartbeat(session, "a").code == 0
    assert kit.members() == ["a"]
