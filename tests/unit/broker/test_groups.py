"""Consumer groups' settings and the forbidden table."""

import random

import pytest

from broker.fakes import Tables
from broker_trio.broker.groups import Groups
from broker_trio.model.errors import Refused
from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.testing.sim_disk import SimDisk


def test_an_unknown_group_is_made_where_that_is_allowed():
    """The first heartbeat or pull of a group gives it Apache's defaults."""
    groups = Tables().load().groups
    assert groups.find_or_create("G") == SubscriptionGroupConfig("G")
    assert groups.get("G") is groups.find_or_create("G")


def test_an_unknown_group_is_26_where_it_is_not():
    """Tools' and system groups exist all the same."""
    groups = Tables(auto_create_subscription_group=False).load().groups
    assert groups.find_or_create("G") is None
    with pytest.raises(Refused) as caught:
        groups.require("G")
    assert caught.value.code == 26
    assert groups.require("TOOLS_CONSUMER")
    assert groups.require("CID_RMQ_SYS_X")


@pytest.mark.parametrize("name", ["", "a b", "a.b", "x" * 121])
def test_illegal_names_are_29(name):
    """A group's name becomes part of topic names."""
    with pytest.raises(Refused) as caught:
        Tables().load().groups.find_or_create(name)
    assert caught.value.code == 29


def test_the_table_has_a_limit():
    """A client that invents group names is stopped, and told by which limit."""
    tables = Tables()
    groups = Groups(tables.disk, tables.clock, tables.settings, groups_max=3)
    groups.load(log_is_empty=True)
    groups.find_or_create("G")
    with pytest.raises(Refused, match="groups_max=3"):
        groups.find_or_create("H")


def test_a_topic_is_barred_and_allowed_again():
    """The forbidden table holds only what is barred, so that it cannot grow by asking."""
    groups = Tables().load().groups
    assert groups.may_read("G", "T")
    groups.set_may_read("G", "T", False)
    assert (groups.may_read("G", "T"), groups.may_read("G", "U")) == (False, True)
    groups.set_may_read("G", "T", True)
    assert groups.forbidden == {}


async def test_groups_survive_a_restart(autojump_clock):
    """Settings, version and bars are read back."""
    disk = SimDisk(random.Random(1))
    first = Tables(disk).load().groups
    first.put(SubscriptionGroupConfig("G", retry_max_times=3, consume_enable=False))
    first.set_may_read("G", "T", False)
    await first.file.persist_if_dirty()
    second = Tables(disk).load().groups
    assert (second.table, second.forbidden) == (first.table, first.forbidden)
    assert second.data_version == first.data_version
