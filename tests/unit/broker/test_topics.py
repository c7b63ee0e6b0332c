"""The topic table: who may make topics, what a change does, what survives."""

import random

import pytest

from broker.fakes import Tables, running
from broker_trio.broker.settings import Settings
from broker_trio.broker.topics import Topics, system_topics
from broker_trio.model.errors import Refused
from broker_trio.model.topic import TopicConfig
from broker_trio.testing.sim_clock import SimClock
from broker_trio.testing.sim_disk import SimDisk


def refused(call, *args):
    with pytest.raises(Refused) as caught:
        call(*args)
    return caught.value


@pytest.fixture
def topics():
    tables = Tables().load()
    tables.topics.create_system_topics("C", "b")
    return tables.topics


def test_a_send_makes_a_topic_after_its_template(topics):
    """Queues are the smaller of what the producer wants and the template has; INHERIT goes."""
    config = topics.create_for_send("T", "TBW102", 4)
    assert config == TopicConfig("T", read_queue_nums=4, write_queue_nums=4, perm=6)
    assert topics.get("T") is config
    assert topics.create_for_send("U", "TBW102", 100).write_queue_nums == 8
    assert topics.create_for_send("V", "TBW102", 0).write_queue_nums == 1


@pytest.mark.parametrize("template", ["", "nobody", "SELF_TEST_TOPIC"])
def test_a_send_without_a_template_is_refused_with_17(topics, template):
    """Unknown templates and such without the INHERIT bit make no topic."""
    assert refused(topics.create_for_send, "T", template, 4).code == 17
    assert topics.get("T") is None


def test_auto_create_can_be_switched_off_while_running():
    """TBW102 stays in the table, and is no template any more."""
    tables = Tables().load()
    tables.topics.create_system_topics("C", "b")
    tables.settings.auto_create_topic_enable = False
    assert refused(tables.topics.create_for_send, "T", "TBW102", 4).code == 17


def test_without_auto_create_there_is_no_template():
    """TBW102 exists exactly where topics may be made by sending."""
    names = [config.topic_name for config in system_topics("C", "b", Settings())]
    assert "TBW102" in names
    off = Settings(auto_create_topic_enable=False)
    assert set(names) - {c.topic_name for c in system_topics("C", "b", off)} == {"TBW102"}


def test_every_change_makes_a_new_version_and_tells_the_hooks(topics):
    """Nameservers skip a table whose version they know; the same config again changes nothing."""
    told = []
    topics.on_change.append(told.append)
    before = topics.data_version
    config = TopicConfig("T")
    assert topics.put(config)
    assert topics.data_version > before
    assert not topics.put(TopicConfig("T"))
    topics.delete("T")
    assert not topics.delete("T")
    assert told == [[config], [config]]
    assert topics.data_version.counter == before.counter + 2


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (TopicConfig(""), 29),
        (TopicConfig("a.b"), 29),
        (TopicConfig("../../etc"), 29),
        (TopicConfig("x" * 128), 29),
        (TopicConfig("T", read_queue_nums=-1), 29),
        (TopicConfig("T", read_queue_nums=0, write_queue_nums=0), 29),
        (TopicConfig("T", write_queue_nums=5000), 29),
    ],
)
def test_impossible_topics_are_refused(topics, config, code):
    """Names become folders and queues become files, so both are checked here."""
    assert refused(topics.put, config).code == code


def test_a_list_is_taken_whole_or_not_at_all(topics):
    """One bad topic in request 18 leaves the table as it was."""
    refused(topics.put_many, [TopicConfig("A"), TopicConfig("b!")])
    assert topics.get("A") is None


def test_the_table_has_a_limit_that_names_itself():
    """Beyond it a send is refused with 17, an administrator with 1, and both are told why."""
    disk = SimDisk(random.Random(1))
    tables = Tables(disk)
    topics = Topics(disk, tables.clock, tables.settings, topics_max=1)
    topics.load(log_is_empty=True)
    topics.put(TopicConfig("TBW102", perm=7))
    refusal = refused(topics.put, TopicConfig("T"))
    assert (refusal.code, "topics_max=1" in refusal.remark) == (1, True)
    assert refused(topics.create_for_send, "T", "TBW102", 4).code == 17
    assert topics.put(TopicConfig("TBW102", perm=6))


def test_retry_and_dead_letter_topics_have_their_own_shape(topics):
    """One queue, readable and writable, whatever a producer asks for; made once."""
    retry = topics.ensure_retry("G", 2, order=True)
    assert (retry.topic_name, retry.read_queue_nums, retry.perm, retry.order) == (
        "%RETRY%G", 2, 6, True,
    )  # fmt: skip
    assert topics.ensure_retry("G", 9) is retry
    assert topics.ensure_dlq("G") == TopicConfig(
        "%DLQ%G", read_queue_nums=1, write_queue_nums=1, perm=6
    )
    assert topics.create_for_send("%RETRY%H", "nobody", 8).write_queue_nums == 1


async def test_topics_and_their_version_survive_a_restart(autojump_clock):
    """What was persisted is read back; system topics keep what an administrator made of them."""
    disk = SimDisk(random.Random(1))
    first = Tables(disk).load()
    first.topics.create_system_topics("C", "b")
    first.topics.put(TopicConfig("T", attributes={"message.type": "FIFO"}))
    first.topics.put(TopicConfig("C", read_queue_nums=3, write_queue_nums=3, perm=7))
    await first.topics.file.persist_if_dirty()
    second = Tables(disk).load()
    second.topics.create_system_topics("C", "b")
    assert second.topics.table == first.topics.table
    assert second.topics.data_version == first.topics.data_version


async def test_a_topic_with_messages_and_no_entry_gets_one_again(autojump_clock):
    """Power may go between an acknowledged message and topics.json; the message stays readable."""
    disk = SimDisk(random.Random(1), clock=SimClock())
    async with running("persister", disk=disk) as broker:
        broker.put("Lost", 2)
        await broker.store.stop()
    async with running(disk=disk) as broker:
        assert broker.parts.topics.get("Lost").read_queue_nums == 8  # producers may know of as many
        assert [message.body for message in broker.messages("Lost", 2)] == [b"x"]
    assert Tables().load().topics.restore({"%LMQ%x": 1, "Empty": 0}) == []


def test_a_full_table_has_room_for_what_the_log_holds():
    """The limit keeps clients from making topics; acknowledged messages stay readable."""
    tables = Tables()
    topics = Topics(tables.disk, tables.clock, tables.settings, topics_max=1)
    topics.put(TopicConfig("First"))
    assert refused(topics.put, TopicConfig("Second")).code == 1
    assert topics.restore({"Second": 3}) == ["Second"]
    assert topics.get("Second").read_queue_nums == 8


async def test_no_message_is_stored_before_there_is_a_topics_file(autojump_clock):
    """The persister counts as started when the first tables are on disk: a log without topics.json
    would refuse to start."""
    async with running("persister") as broker:
        assert broker.disk.exists("config/topics.json")
